import fc from 'fast-check';

/*
 * What is tried at random is the same each time, so that a run tells of the change that was made and of nothing else. The long
 * mode of .ci/run tries what nobody has tried before; what it finds stays as an example with its test, and is mended.
 */
if (process.env.CREDMON_TEST_LONG !== 'yes') fc.configureGlobal({ ...fc.readConfigureGlobal(), seed: 0x5eed });
