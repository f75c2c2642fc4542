/** What is drawn with Ink and React, for one file with both of them in it (npm run bundle:ink): they take long to load. */
export { inkFace } from '../login/faces/ink/index.js';
export { watchScreen } from '../status/watch/screen.js';
