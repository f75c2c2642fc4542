// Stands in for react-devtools-core in the bundle: Ink imports it by name and uses it in development only.
export default undefined;
