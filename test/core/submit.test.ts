import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { failureOf } from '../../src/core/failure.js';
import { parseRequest, type ServiceRequest } from '../../src/core/request.js';
import { type SubmitText, type SubmitWorld, submitRequests, within } from '../../src/core/submit.js';

interface Given {
  readonly files?: Readonly<Record<string, string>>;
  readonly env?: Readonly<Record<string, string>>;
  readonly knobs?: Readonly<Record<string, string>>;
}

const world = ({ files = {}, env = {}, knobs = {} }: Given = {}): SubmitWorld => ({
  read: (path) => files[path],
  env: (name) => env[name],
  knob: (name) => knobs[name.toUpperCase()],
});

const asks = (text: string, given?: Given, more: Partial<SubmitText> = {}): ServiceRequest[] =>
  submitRequests({ file: 'job.sub', text, ...more }, world(given));

/** Written as condor_submit gives them to the storer. */
const as = (...words: string[]): ServiceRequest[] => words.map(parseRequest);

const failure = (text: string, given?: Given, more?: Partial<SubmitText>) => {
  try {
    return asks(text, given, more);
  } catch (error) {
    return failureOf(error) ?? Promise.reject(error);
  }
};

/** `wanted` with a line that shows in the audience what a macro comes to. */
const audience = (value: string, before = '', given?: Given, more?: Partial<SubmitText>): string | undefined =>
  asks(`${before}\nuse_oauth_services = a\na_oauth_resource = [${value}]\nqueue\n`, given, more)[0]?.audience;

describe('what a submit file asks for', () => {
  test('as condor_submit -dry-run of 23.9.6 passed it on', () => {
    const text = `
      use_oauth_services = box, myprov, dune_production, pel
      myprov_oauth_permissions = read:/a write:/b
      myprov_oauth_resource = https://x.example/
      dune_production_oauth_permissions_h1 = storage.read:/p, storage.create:/q
      dune_production_oauth_resource_h1 = https://aud.example
      dune_production_oauth_options_h1 = --foo bar
      pel_oauth_permissions_ro =
      executable = /bin/true
      queue`;
    expect(asks(text)).toEqual(
      as(
        'box',
        'dune_production&handle=h1&scopes=storage.read:/p,storage.create:/q&audience=https://aud.example&options=--foo bar',
        'myprov&scopes=read:/a,write:/b&audience=https://x.example/',
        'pel&handle=ro',
      ),
    );
  });

  test.each<[string, string, ServiceRequest[]]>([
    ['nothing', 'executable = /bin/true\nqueue', []],
    ['an empty list', 'use_oauth_services =\nqueue', []],
    ['permissions of a service that is not used', 'use_oauth_services = a\nb_oauth_permissions = x\nqueue', as('a')],
    ['the other name', 'UseOAuthServices = a\nqueue', as('a')],
    ['both names: the first', 'use_oauth_services = a\nUseOAuthServices = b\nqueue', as('a')],
    ['both names, the first empty: none', 'use_oauth_services =\nUseOAuthServices = b\nqueue', []],
    ['any case', 'USE_OAUTH_SERVICES = a\nA_OAuth_Permissions = X\nQueue', as('A&scopes=X')],
    ['a service twice', 'use_oauth_services = a, A a\nqueue', as('a')],
    ['sorted without regard to case', 'use_oauth_services = c, B, a, a_b, ab\nqueue', as('a', 'a_b', 'ab', 'B', 'c')],
    [
      'a handle takes the place of the bare service',
      'use_oauth_services = a\na_oauth_resource_h = x\nqueue',
      as('a&handle=h&audience=x'),
    ],
    [
      'unless the bare one has a key too',
      'use_oauth_services = a\na_oauth_options_h = x\na_oauth_permissions =\nqueue',
      as('a', 'a&handle=h&options=x'),
    ],
    [
      'several handles',
      'use_oauth_services = a\na_oauth_permissions_rw = r w\na_oauth_resource_ro = x\na_oauth_permissions_ro = r\nqueue',
      as('a&handle=ro&scopes=r&audience=x', 'a&handle=rw&scopes=r,w'),
    ],
    [
      'a handle with an underscore',
      'use_oauth_services = a\na_oauth_permissions_x_y = r\nqueue',
      as('a&handle=x_y&scopes=r'),
    ],
    [
      'job attributes are none of it',
      'use_oauth_services = a\n+a_oauth_permissions_h = "x"\nMy.a_oauth_resource_h = "x"\nqueue',
      as('a'),
    ],
    [
      'the last value counts',
      'use_oauth_services = b\nuse_oauth_services = a\na_oauth_resource=x\na_oauth_resource=y\nqueue',
      as('a&audience=y'),
    ],
    ['no queue statement', 'use_oauth_services = a', as('a')],
    ['a queue in an if', 'use_oauth_services = a\nif true\nqueue\nelse\nuse_oauth_services = b\nqueue\nendif', as('a')],
    ['a queue in an if that does not end', 'use_oauth_services = a\nif true\nqueue', as('a')],
    ['what stands below the only queue is too late', 'queue\nuse_oauth_services = a', []],
    [
      'several queue statements, all of them',
      'use_oauth_services = a\nqueue\nuse_oauth_services = b\na_oauth_resource=x\nqueue 2\nuse_oauth_services = a\nqueue',
      as('a', 'b', 'a&audience=x'),
    ],
  ])('%s', (_, text, expected) => {
    expect(asks(text)).toEqual(expected);
  });

  test('what the configuration says instead', () => {
    const knobs = {
      A_DEFAULT_SCOPES: 'r:/ w:/',
      A_DEFAULT_AUDIENCE: 'https://a',
      A_DEFAULT_OPTIONS: '-v',
      A_USER_DEFINE_SCOPES: 'Optional',
      B_USER_DEFINE_SCOPES: 'Required',
      B_USER_DEFINE_AUDIENCE: 'REQUIRED',
    };
    expect(asks('use_oauth_services = a\nqueue', { knobs })).toEqual(
      as('a&scopes=r:/,w:/&audience=https://a&options=-v'),
    );
    expect(asks('use_oauth_services = a\na_oauth_permissions = x\na_oauth_resource=\nqueue', { knobs })).toEqual(
      as('a&scopes=x&audience=https://a&options=-v'),
    );
    expect(failure('\nuse_oauth_services = b\nqueue', { knobs })).toEqual({
      kind: 'usage',
      what: 'job.sub, line 2: b cannot be used without b_oauth_permissions',
      hint: 'add a line: b_oauth_permissions = …',
    });
    expect(failure('use_oauth_services = b\nb_oauth_permissions_h = x\nqueue', { knobs })).toMatchObject({
      what: 'job.sub, line 1: b cannot be used without b_oauth_resource_h',
    });
    expect(asks('use_oauth_services = b\nb_oauth_permissions=x\nb_oauth_resource=y\nqueue', { knobs })).toEqual(
      as('b&scopes=x&audience=y'),
    );
  });

  test.each([
    ['use_oauth_services = ../x\nqueue', 'job.sub, line 1: "../x" cannot name a service'],
    ['use_oauth_services = a\na_oauth_permissions_.. = x\nqueue', 'job.sub, line 2: ".." cannot name a handle'],
    ['use_oauth_services = a\na_oauth_permissions = "x"\nqueue', 'job.sub, line 2: ""x"" cannot be a scope'],
    ['use_oauth_services = a\na_oauth_resource = \u001b[31m\nqueue', 'job.sub, line 2: the audience "" has characters'],
  ])('%j is refused', (text, what) => {
    expect(failure(text)).toMatchObject({ kind: 'usage', what: expect.stringContaining(what) });
  });
});

describe('lines', () => {
  test.each<[string, string, string]>([
    ['a backslash continues', 'a_oauth_resource = x \\\n   y\\\n z', 'x yz'],
    ['blanks at the end go', '  a_oauth_resource=x  \t', 'x'],
    ['Windows ends', 'a_oauth_resource = x\r\n', 'x'],
    ['comments', '# a_oauth_resource = y\n  #z\n\na_oauth_resource = x # y', 'x # y'],
    ['a comment does not continue', 'a_oauth_resource = x\n# no \\\na_oauth_resource = y', 'y'],
    ['a commented out part of a continued line', 'a_oauth_resource = x \\\n # y \\\n z', 'x z'],
    ['a text of several lines', 'arguments @=end\n--a\n # c\n\n  --b \\\n  c\n@end\na_oauth_resource = x', 'x'],
    [
      '+=',
      'a_oauth_resource = x\na_oauth_resource += y\na_oauth_resource +,= z\na_oauth_resource +&&= w',
      'x y,z && w',
    ],
    ['+= to nothing', 'a_oauth_resource +|= y', 'y'],
    ['a name made of macros', 's = A\n$(s)_oauth_resource = x', 'x'],
    ['a warning', 'warning : x\na_oauth_resource = x', 'x'],
    ['use strict', 'use strict : harsh\na_oauth_resource = x', 'x'],
  ])('%s', (_, text, expected) => {
    expect(asks(`use_oauth_services = a\n${text}\nqueue`)[0]?.audience).toBe(expected);
  });

  test('permissions on several lines', () => {
    const text = 'use_oauth_services = a\na_oauth_permissions @=x\nread:/a\n# no:/x\nwrite:/b\n@x\nqueue';
    expect(asks(text)).toEqual(as('a&scopes=read:/a,write:/b'));
  });

  test.each([
    ['nonsense', 'line 2: "nonsense" is neither a command nor a queue statement'],
    ['two words = 3', 'line 2: "two words = 3" is neither'],
    ['colon : 3', 'line 2: "colon : 3" is neither'],
    ['a-b = 3', 'line 2: "a-b" cannot be the name of a command'],
    ['= 3', 'line 2: "" cannot be the name of a command'],
    ['x @=end\ny', 'line 2: the text that starts here has no end'],
    ['error : Not this way', 'line 2: condor_submit stops here: Not this way'],
    ['use feature : x', 'line 2: what "use feature : x" brings in cannot be told here'],
    ['if true', 'an if has no endif'],
    ['endif', 'line 2: endif without an if'],
    ['if true\nelse\nelse\nendif', 'line 4: else without an if'],
    ['if true\nelse\nelif true\nendif', 'line 4: elif without an if'],
    ['queue x in (\na', 'line 2: the items of this queue statement do not end'],
  ])('%j is refused', (text, what) => {
    expect(failure(`use_oauth_services = a\n${text}`)).toMatchObject({
      kind: 'usage',
      what: expect.stringContaining(what),
    });
  });

  test('a DAG is not a submit file', () => {
    expect(failure('JOB A a.sub\n')).toMatchObject({ hint: 'this looks like a DAG, not like a submit file' });
  });
});

describe('queue statements', () => {
  test.each([
    'queue',
    'Queue 3',
    'queue item in (a, b)',
    'queue x, y from (\n nonsense here\n # (\n ) more',
    'queue 2 x in [::2] (\n a = b\n)',
    'queue x from table (csv) (\n a\n)',
    'queue from list.txt',
    'queue x matching files *.dat',
    'queue 5 x in a, b)',
    'queue $(N) name from cat=3.txt',
    'iterate 3',
  ])('%s', (queue) => {
    expect(asks(`use_oauth_services = a\n${queue}\nuse_oauth_services = b\nqueue`)).toEqual(as('a', 'b'));
  });
});

describe('macros', () => {
  test.each<[string, string, string]>([
    ['$(x)', 'x = 1', '[1]'],
    ['$(X)$(x)', 'x = 1', '[11]'],
    ['$(x)', 'x = $(y)\ny = 2', '[2]'],
    ['$(x)', 'x = 1\nx = $(x)2\nx = 0$(X)', '[012]'],
    ['$(x)', 'x = $(x:1)2', '[12]'],
    ['$(nowhere)', '', '[]'],
    ['$(nowhere:else)', '', '[else]'],
    ['$(x:else)', 'x =', '[else]'],
    ['$(x:$(y))', 'y = 2', '[2]'],
    ['$(x:https://h.example/p)', '', '[https://h.example/p]'],
    // A hyphen may not stand in a default: it is no macro then.
    ['$(x:https://my-host)', 'x = 1', '[$(x:https://my-host)]'],
    ['$(a$(b))', 'b = c\nac = done', '[done]'],
    ['$(x)', 'SUBMIT.x = 1\nx = 2', '[1]'],
    ['$(x)', 'x = 2\nSUBMIT.x = $(x)1', '[21]'],
    ['$$(x) $$([x]) $x $ $( x)', 'x = 1', '[$$(x) $$([x]) $x $ $( x)]'],
    ['$(DOLLAR)(x) $(dollar)', 'x = 1', '[$(x) $]'],
    ['$ENV(HOME) $ENV(NOT) $ENV(NOT:y)', '', '[/home/alice UNDEFINED y]'],
    ['$env(HOME) $FOO(x)', 'x = 1', '[$env(HOME) $FOO(x)]'],
    ['$(SUBMIT_FILE) $(IsLinux)$(IsWindows) $(ARCH) $(OPSYS)', '', '[job.sub 10 X86_64 ]'],
    ['$(MY.Attr)', '+Attr = 3', '[3]'],
  ])('%s with %j', (value, before, expected) => {
    expect(audience(value, before, { env: { HOME: '/home/alice' }, knobs: { ARCH: 'X86_64' } })).toBe(expected);
  });

  test('those of the command line: before the file, and after it', () => {
    expect(audience('$(x)$(y)', 'y = 2', {}, { before: { x: '1', Y: '0' } })).toBe('[12]');
    expect(audience('$(x)', 'x = 2', {}, { after: { x: '$(x)3' } })).toBe('[23]');
    expect(asks('queue', {}, { after: { use_oauth_services: 'a' } })).toEqual(as('a'));
  });

  test.each([
    ['$(Cluster)', 'queue', 'line 3: $(Cluster) has no value yet when condor_submit asks for credentials'],
    ['$(p)\np=$(ProcId)', 'queue 2', 'line 3: $(ProcId) has no value yet'],
    ['$(Item)', 'queue in (a b)', 'line 3: $(Item) has no value yet'],
    ['$(site)', 'queue 3 x, SITE from (\n a b\n)', 'line 3: $(site) has no value yet'],
    ['$(RETRY)', 'queue', 'line 3: $(RETRY) has no value yet'],
    ['$(Year)', 'queue', 'line 3: what $(Year) will be cannot be told here'],
    ['$RANDOM_CHOICE(a,b)', 'queue', 'line 3: what $RANDOM_CHOICE(a,b) will be cannot be told here'],
    ['$Fn(x)', 'queue', 'line 3: what $Fn(x) will be cannot be told here'],
    ['$(x)\nx = $(y)\ny = $(x)', 'queue', 'is defined by itself'],
    ['$(x)\nx = $(y)$(y)\ny = $(z)$(z)\nz = $(y)', 'queue', 'is defined by itself'],
  ])('%j in what is asked for is refused', (value, queue, what) => {
    const text = (key: string) => `use_oauth_services = a\n\n${key} = ${value}\n${queue}\n`;
    const more = { later: ['retry'] };
    expect(failure(text('a_oauth_permissions'), {}, more)).toMatchObject({
      kind: 'usage',
      what: expect.stringContaining(what),
    });
    expect(failure(text('arguments'), {}, more)).toEqual(as('a'));
    expect(failure(text('b_oauth_permissions'), {}, more)).toEqual(as('a'));
  });

  test('a loop variable that also has a value has that one', () => {
    expect(asks('use_oauth_services = $(s)\ns = a\nqueue s in (b c)')).toEqual(as('a'));
  });
});

describe('if', () => {
  const knobs = { CONDOR_VERSION: '23.9.6' };
  const holds = (condition: string) =>
    asks(`x = 1\nempty =\nif ${condition}\nuse_oauth_services = yes\nelse\nuse_oauth_services = no\nendif\nqueue`, {
      knobs,
    })[0]?.service === 'yes';

  test.each([
    'true',
    'True',
    'yes',
    '1',
    '-1',
    '0.5',
    '! false',
    '!$(nowhere)',
    '$(x)',
    'defined x',
    '! defined empty',
    'defined true',
    'defined 0',
    'defined Process',
    '!defined nowhere',
    'version >= 23.9',
    'version >= 23.9.6',
    'version > 8.1.5',
    'version < 24.0',
    'version == 23.9.6',
    'version != 23.9.5',
    'version >= v23.1',
  ])('%s', (condition) => {
    expect(holds(condition)).toBe(true);
  });

  test.each([
    'false',
    'no',
    'F',
    '0',
    '0.0',
    '$(nowhere)',
    'defined nowhere',
    'defined',
    'version > 23.9',
    'version <= 23.8',
  ])('not %s', (condition) => {
    expect(holds(condition)).toBe(false);
  });

  test.each(['x', '', 'x == 1', '$(x) == 1', 'version >= 24', 'version', 'defined use x', 'defined a b', '1 && 1'])(
    '%j cannot be told',
    (condition) => {
      expect(failure(`\nif ${condition}\nendif\nqueue`, { knobs })).toMatchObject({
        kind: 'usage',
        what: `job.sub, line 2: "${condition}" is not a condition that can be told here`,
      });
    },
  );

  test('without a version of HTCondor, a comparison with it cannot be told', () => {
    expect(failure('if version > 8.0\nendif')).toMatchObject({ kind: 'usage' });
  });

  test('the first branch that holds, and inside it only', () => {
    const text = (...conditions: string[]) =>
      `if ${conditions[0]}
         if true
           use_oauth_services = a
         endif
       elif ${conditions[1]}
         use_oauth_services = b
       elif true
         if false
           nonsense
         elif ${conditions[2]}
           :use_oauth_services = c
         else
           use_oauth_services = d
         endif
       else
         nonsense
       endif
       queue`;
    expect(asks(text('true', 'nobody looks', 'at these'))).toEqual(as('a'));
    expect(asks(text('false', 'true', 'nobody looks'))).toEqual(as('b'));
    expect(asks(text('false', 'false', 'true'))).toEqual(as('c'));
    expect(asks(text('false', 'false', 'false'))).toEqual(as('d'));
  });
});

describe('include', () => {
  const files = {
    'more.inc': 'a_oauth_resource = $(x)\nx = inner\n',
    'sub/more.inc': 'a_oauth_resource = sub\n',
    'queue.inc': 'queue\n',
    'self.inc': 'include : self.inc\n',
    'wrong.inc': '\nnonsense\n',
    'if.inc': 'if true\n',
  };
  const included = (line: string, more?: Partial<SubmitText>) =>
    failure(`use_oauth_services = a\nx = outer\n${line}\nqueue`, { files }, more);

  test.each([
    'include : more.inc',
    '@include : more.inc',
    'INCLUDE:more.inc',
    'include ifexist : $(no:more.inc)',
    'include ifexists : more.inc',
  ])('%s', (line) => {
    expect(included(line)).toEqual(as('a&audience=inner'));
  });

  test('from where condor_submit runs', () => {
    expect(included('include : more.inc', { directory: 'sub' })).toEqual(as('a&audience=sub'));
    expect(included('include : more.inc', { directory: 'sub/' })).toEqual(as('a&audience=sub'));
  });

  test('a file that need not be there, and what a program wrote before', () => {
    expect(included('include ifexist : none.inc')).toEqual(as('a'));
    expect(included('include command into more.inc : make-it')).toEqual(as('a&audience=inner'));
  });

  test.each([
    ['include : none.inc', 'job.sub, line 3: there is no file none.inc'],
    ['include :', 'job.sub, line 3: there is no file'],
    ['include : ls |', 'job.sub, line 3: what the program "ls |" writes cannot be told here'],
    ['include command : ls', 'job.sub, line 3: what the program "ls" writes'],
    ['include output into x : ls', 'job.sub, line 3: what the program "ls" writes'],
    ['include this : x', 'job.sub, line 3: condor_submit does not know "include this"'],
    ['include : queue.inc', 'queue.inc, line 1: a queue statement may not stand in an included file'],
    ['include : self.inc', 'self.inc, line 1: files include one another more than 20 deep'],
    ['include : wrong.inc', 'wrong.inc, line 2: "nonsense" is neither'],
    ['include : if.inc', 'if.inc: an if has no endif'],
  ])('%s is refused', (line, what) => {
    expect(included(line)).toMatchObject({ kind: 'usage', what: expect.stringContaining(what) });
  });
});

test('within', () => {
  expect(within(undefined, 'a')).toBe('a');
  expect(within('', 'a')).toBe('a');
  expect(within('d', 'a/b')).toBe('d/a/b');
  expect(within('d', '/a')).toBe('/a');
  expect(within('/', 'a')).toBe('/a');
});

describe('whatever the file', () => {
  const piece = fc.constantFrom(
    ...[
      'use_oauth_services',
      'a_oauth_permissions',
      'a_oauth_resource_h',
      'x',
      ' = ',
      '=',
      ':',
      ' @=e',
      '@e',
      '+',
      'a',
      'b,',
    ],
    ...[
      '$(x)',
      '$(',
      '$ENV(x:',
      ')',
      'if ',
      'elif',
      'else',
      'endif',
      'true',
      'defined ',
      'version >= 1.',
      'include : ',
      'f',
    ],
    ...['\\', '\n', '\n', '\n', '#', ' ', 'queue', ' in (', ' from ', 'use ', '\u0000', 'é'],
  );

  test('requests, or Failed with a place', () => {
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 40 }), fc.array(piece, { maxLength: 10 }), (text, inner) => {
        const read = failure(text.join(''), { files: { f: inner.join('') } });
        if (Array.isArray(read)) for (const request of read) expect(request.service).toMatch(/^[\w+=.-]+$/);
        else
          expect(read).toMatchObject({
            kind: 'usage',
            what: expect.stringMatching(/^(?:job\.sub|f)(?:, line \d+)?: /),
          });
      }),
      { numRuns: 3000 },
    );
  });

  test('soon, also where nothing ends', () => {
    const long = 'a'.repeat(50_000);
    for (const text of [
      `queue ${long}! in (`,
      `x = ${'$('.repeat(50_000)}`,
      `x = ${'$(x:'.repeat(20_000)}`,
      `${long} ${long}`,
    ])
      failure(`use_oauth_services = $(x)\n${text}\nqueue`);
    expect(audience('$(x)', `x = ${long}`)).toBe(`[${long}]`);
  });
});
