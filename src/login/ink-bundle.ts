/** Where the build puts Ink and React in one file. The same from dist/login and from dist/run, into which this is bundled. */
export const inkBundle: string = new URL('../run/ink.js', import.meta.url).href;
