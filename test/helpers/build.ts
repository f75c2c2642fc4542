import { execFileSync } from 'node:child_process';

/** The suites run the built programs, so what is built is always what stands in `src`. */
export default function build(): void {
  execFileSync('npm', ['run', '-s', 'build'], { stdio: 'inherit' });
}
