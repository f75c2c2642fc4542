import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Dag, type DagNode, readDag, requestsOf } from '../../src/core/dag.js';
import { failureOf } from '../../src/core/failure.js';
import { parseRequest } from '../../src/core/request.js';
import type { SubmitWorld } from '../../src/core/submit.js';

type Files = Readonly<Record<string, string>>;

const world = (files: Files, knobs: Files = {}): SubmitWorld => ({
  read: (path) => files[path],
  env: () => undefined,
  knob: (name) => knobs[name],
});

const read = (text: string, files: Files = {}, knobs?: Files): Dag =>
  readDag('x.dag', world({ ...files, 'x.dag': text }, knobs));

const nodesOf = (...given: Parameters<typeof read>): readonly DagNode[] => read(...given).nodes;

const names = (...given: Parameters<typeof read>): string[] => nodesOf(...given).map(({ name }) => name);

const failure = (...given: Parameters<typeof read>) => {
  try {
    return read(...given);
  } catch (error) {
    return failureOf(error) ?? Promise.reject(error);
  }
};

/** The requests as `nodes: argument`, and what is not known. */
const asked = (text: string, files: Files = {}, knobs?: Files) => {
  const all = world({ ...files, 'x.dag': text }, knobs);
  const { requests, unknown } = requestsOf(readDag('x.dag', all), all);
  return { requests: requests.map(({ request, nodes }) => [nodes.join(' '), request]), unknown };
};

const sub = (service: string, more = '') => `use_oauth_services = ${service}\n${more}\nexecutable = /bin/true\nqueue\n`;

describe('nodes', () => {
  test('of every kind', () => {
    const text = `
      # A comment
      // and another
      JOB A a.sub
      job B "b c.sub" DIR 'some where'
      Final F f.sub DIR /abs
      PROVISIONER P p.sub
      SERVICE S s.sub NOOP DIR x
      JOB D d.sub DONE
      FINAL G g.sub DONE
      PARENT A CHILD B
      RETRY A 3 UNLESS-EXIT 2`;
    const plain = { before: { JOB: 'A' }, after: {} };
    expect(nodesOf(text)).toEqual([
      { ...plain, name: 'A', file: 'a.sub' },
      { ...plain, name: 'B', file: 'b c.sub', directory: 'some where', before: { JOB: 'B' } },
      { ...plain, name: 'F', file: 'f.sub', directory: '/abs', before: { JOB: 'F' } },
      { ...plain, name: 'P', file: 'p.sub', before: { JOB: 'P' } },
      { ...plain, name: 'G', file: 'g.sub', before: { JOB: 'G' } },
    ]);
  });

  test('DONE, wherever it is said', () => {
    expect(names('DONE A\nJOB A a\nJOB B b\nFINAL F f\nDONE F\nDONE nobody')).toEqual(['B', 'F']);
  });

  test('lines that go on, with a comment between them', () => {
    expect(names('JOB \\\n  A \\\n# no\n\n  a.sub \\\nDIR d\nJOB B b \\')).toEqual(['A', 'B']);
  });
});

describe('descriptions in the DAG', () => {
  test('of one node, and of several', () => {
    const text = `
      JOB A {
        use_oauth_services = a

        # comment
        queue
      } DIR here
      SUBMIT-DESCRIPTION shared @=end
        arguments = }
        JOB X x.sub
      @end
      JOB B shared
      JOB C @=x DONE
      } still
      @x NOOP
      JOB D other
      Submit_Description other {
      }`;
    expect(nodesOf(text)).toMatchObject([
      {
        name: 'A',
        directory: 'here',
        text: 'use_oauth_services = a\nqueue\n',
        file: 'the description at x.dag, line 2',
      },
      { name: 'B', text: 'arguments = }\nJOB X x.sub\n', file: 'the description at x.dag, line 8' },
      { name: 'D', text: '' },
    ]);
  });

  test('those of splices serve the whole, where the whole has none of that name', () => {
    const files = { 's.dag': 'SUBMIT-DESCRIPTION d {\ninner\n}\nSUBMIT-DESCRIPTION e {\ninner\n}\nJOB A d\nJOB B e' };
    const text = 'SPLICE S s.dag\nSUBMIT-DESCRIPTION d {\nouter\n}\nJOB C e';
    expect(nodesOf(text, files).map(({ name, text }) => [name, text])).toEqual([
      ['S+A', 'outer\n'],
      ['S+B', 'inner\n'],
      ['C', 'inner\n'],
    ]);
  });
});

describe('VARS', () => {
  const vars = (text: string, knobs?: Files) =>
    nodesOf(`JOB A a\nJOB B b\nFINAL F f\n${text}`, {}, knobs).map(({ before, after }) => [before, after]);

  test.each<[string, Record<string, string>]>([
    ['x="1"', { x: '1' }],
    ['x = "1" y= "a b"  z =c', { x: '1', y: 'a b', z: 'c' }],
    [`x="say \\"hi\\" \\\\ 'so'" y='12\\'34'`, { x: `say "hi" \\ 'so'`, y: "12'34" }],
    ['x=a"b c"', { x: 'a"b c"' }],
    ['x="" y=\'\'', { x: '', y: '' }],
    ['+Attr="1" My.Other=2', { 'MY.Attr': '1', 'My.Other': '2' }],
    ['x="1" x="2"', { x: '2' }],
    ['PREPEND x=1', { x: '1' }],
  ])('VARS A %s', (pairs, expected) => {
    expect(vars(`VARS A ${pairs}`)).toEqual([
      [{ JOB: 'A', ...expected }, {}],
      [{ JOB: 'B' }, {}],
      [{ JOB: 'F' }, {}],
    ]);
  });

  test('after the file, when it is said or configured', () => {
    expect(vars('vars A append x=1')[0]).toEqual([{ JOB: 'A' }, { x: '1' }]);
    expect(vars('VARS A x=1', { DAGMAN_DEFAULT_APPEND_VARS: 'True' })[0]).toEqual([{ JOB: 'A' }, { x: '1' }]);
    expect(vars('VARS A PREPEND x=1', { DAGMAN_DEFAULT_APPEND_VARS: 'True' })[0]).toEqual([{ JOB: 'A', x: '1' }, {}]);
    expect(vars('VARS A APPEND x=1\nVARS A x=2')[0]).toEqual([{ JOB: 'A' }, { x: '2' }]);
  });

  test('ALL_NODES are all of the same file but the FINAL one', () => {
    const files = { 's.dag': 'JOB I i\nVARS all_nodes y=2' };
    const found = nodesOf('VARS ALL_NODES x=1\nJOB A a\nSPLICE S s.dag\nFINAL F f\nVARS nobody x=3', files);
    expect(found.map(({ name, before }) => [name, before])).toEqual([
      ['A', { JOB: 'A', x: '1' }],
      ['S+I', { JOB: 'S+I', y: '2' }],
      ['F', { JOB: 'F' }],
    ]);
  });
});

describe('several files', () => {
  test('splices, from where they are', () => {
    const files = {
      's.dag': 'JOB A a.sub\nJOB B b.sub DIR d\nJOB C /c.sub DIR /e',
      'in/s.dag': 'JOB A a.sub\nSPLICE T t.dag DIR deep',
      'in/deep/t.dag': 'JOB A a.sub DIR d',
    };
    const found = nodesOf('SPLICE S s.dag\nSPLICE R s.dag DIR in', files);
    expect(found.map(({ name, directory, file, before }) => [name, directory, file, before.JOB])).toEqual([
      ['S+A', undefined, 'a.sub', 'S+A'],
      ['S+B', 'd', 'b.sub', 'S+B'],
      ['S+C', '/e', '/c.sub', 'S+C'],
      ['R+A', 'in', 'a.sub', 'R+A'],
      ['R+T+A', 'in/deep/d', 'a.sub', 'R+T+A'],
    ]);
  });

  test('included files are part of the DAG', () => {
    const files = { 'i.dag': 'JOB B b.sub\nVARS A x=1' };
    expect(nodesOf('INCLUDE "i.dag"\nJOB A a.sub\nVARS B x=2', files)).toMatchObject([
      { name: 'A', before: { x: '1' } },
      { name: 'B', before: { x: '2' } },
    ]);
  });

  test('sub-DAGs, with their own directory and names', () => {
    const files = {
      'd/sub.dag': 'JOB A a.sub\nSUBDAG EXTERNAL I inner.dag',
      'd/inner.dag': 'JOB B b.sub DIR e\nVARS B x=1',
    };
    const { nodes, unknown } = read(
      'SUBDAG EXTERNAL S sub.dag DIR d\nFINAL F d/inner.dag.condor.sub\nVARS S x=0',
      files,
    );
    expect(nodes).toEqual([
      { name: 'S/A', directory: 'd', file: 'a.sub', before: { JOB: 'A' }, after: {} },
      { name: 'S/I/B', directory: 'd/e', file: 'b.sub', before: { JOB: 'B', x: '1' }, after: {} },
      { name: 'F/B', directory: 'e', file: 'b.sub', before: { JOB: 'B', x: '1' }, after: {} },
    ]);
    expect(unknown).toEqual([]);
  });

  test('a sub-DAG that is not there may come later; one that is done or does nothing is not looked for', () => {
    expect(
      read('JOB A a.sub\n\nSUBDAG EXTERNAL S s.dag DIR d\nSUBDAG EXTERNAL T t.dag DONE\nSUBDAG EXTERNAL U u.dag NOOP'),
    ).toEqual({
      nodes: [expect.objectContaining({ name: 'A' })],
      unknown: ['x.dag, line 3: d/s.dag is not there (node S)'],
    });
  });

  test.each([
    ['SPLICE S none.dag', {}, 'x.dag, line 1: there is no file none.dag'],
    ['SPLICE S none.dag DIR d', {}, 'x.dag, line 1: there is no file d/none.dag'],
    ['INCLUDE none.dag', {}, 'x.dag, line 1: there is no file none.dag'],
    ['\nINCLUDE x.dag', {}, 'x.dag, line 2: x.dag is within itself'],
    ['SPLICE S s.dag', { 's.dag': '\n\nSPLICE S x.dag' }, 's.dag, line 3: x.dag is within itself'],
    ['SUBDAG EXTERNAL S x.dag', {}, 'x.dag, line 1: x.dag is within itself'],
    ['INCLUDE wrong.dag', { 'wrong.dag': '\nJBO A a' }, 'wrong.dag, line 2: "JBO A a" is not a command of a DAG'],
  ])('%j with %j is refused', (text, files, what) => {
    expect(failure(text, files)).toMatchObject({ kind: 'usage', what });
  });

  test('however deep and however many, it ends', () => {
    const endless = { ...world({}), read: () => 'SPLICE S x.dag DIR d' };
    expect(() => readDag('x.dag', endless)).toThrow(/more DAG files within one another than can be read/);
    const doubling = {
      ...world({}),
      read: (path: string) => `SPLICE A x.dag DIR ${path.length}a\nSPLICE B x.dag DIR b`,
    };
    expect(() => readDag('x.dag', doubling)).toThrow(/more DAG files within one another than can be read/);
  });

  test('the file itself must be there', () => {
    expect(() => readDag('none.dag', world({}))).toThrow(/^the DAG: there is no file none\.dag/);
    expect(readDag('x.dag', world({ 'd/x.dag': 'JOB A a' }), 'd').nodes).toMatchObject([{ name: 'A', directory: 'd' }]);
  });
});

describe('what is none', () => {
  test.each([
    ['JOB', 'line 1: a name is missing'],
    ['JOB A', 'line 1: a submit file is missing'],
    ['JOB A a.sub DIR', 'line 1: a directory is missing'],
    ['JOB A a.sub garbage', 'line 1: "garbage" cannot stand here'],
    ['JOB A a.sub\nJOB A b.sub', 'line 2: there is another node A'],
    ['JOB A {\nqueue', 'line 1: the description that starts here has no end'],
    ['JOB A @=\n@', 'line 1: the description that starts here has no end'],
    ['SUBMIT-DESCRIPTION a a.sub', 'line 1: this description has no text'],
    ['SUBDAG A a.dag', 'line 1: SUBDAG must be followed by EXTERNAL'],
    ['SPLICE A a.dag garbage', 'line 1: "garbage" cannot stand here'],
    ['VARS A', 'line 1: VARS needs NAME="VALUE"'],
    ['VARS A no-pair', 'line 1: "no-pair" is not NAME="VALUE"'],
    ['VARS A x = = 4', 'line 1: x has no value'],
    ['VARS A x =', 'line 1: x has no value'],
    ['VARS A x=1 y', 'line 1: "y" is not NAME="VALUE"'],
    ['VARS A x="1', 'line 1: a quotation has no end'],
    ['executable = /bin/true\nqueue', 'line 1: "executable = /bin/true" is not a command of a DAG'],
  ])('%j', (text, what) => {
    expect(failure(text)).toMatchObject({ kind: 'usage', what: expect.stringContaining(`x.dag, ${what}`) });
  });

  test('all other commands are passed over', () => {
    const text = `
      PARENT A B CHILD C
      WEAK PARENT A CHILD B
      SCRIPT DEFER 3 20 PRE A my.sh "don't
      ABORT-DAG-ON B 32 RETURN 8
      PRE-SKIP E 12
      TOLERANCE D 25% FAIL-FAST
      PRIORITY D -82
      CATEGORY C c
      MAXJOBS c 2
      CONFIG x.conf
      DOT v.dot UPDATE
      NODE_STATUS_FILE f 30
      JOBSTATE_LOG l
      SAVE_POINT_FILE B
      SET_JOB_ATTR a = 3
      ENV SET a=b
      REJECT
      CONNECT S T
      PIN_IN A 1
      PIN-OUT A 1`;
    expect(read(text)).toEqual({ nodes: [], unknown: [] });
  });
});

describe('requestsOf', () => {
  test('each once, with all nodes that make it', () => {
    const files = {
      'a.sub': sub('a', 'a_oauth_permissions = $(scopes)'),
      'd/a.sub': `include : c.inc\nqueue`,
      'd/c.inc': 'use_oauth_services = b',
      'none.sub': 'executable = /bin/true\nqueue',
    };
    const text = `
      JOB A a.sub
      JOB B a.sub
      JOB C a.sub
      JOB D a.sub DIR d
      JOB E none.sub
      JOB F {
        use_oauth_services = b, c
        c_oauth_resource = $(JOB)
      }
      VARS A scopes="read:/x write:/x"
      VARS B scopes="write:/x,read:/x"
      VARS C scopes="read:/y"`;
    expect(asked(text, files)).toEqual({
      requests: [
        ['A B', parseRequest('a&scopes=read:/x,write:/x')],
        ['C', parseRequest('a&scopes=read:/y')],
        ['D F', parseRequest('b')],
        ['F', parseRequest('c&audience=F')],
      ],
      unknown: [],
    });
  });

  test('what is wrong with one node does not hide the others', () => {
    const files = {
      'a.sub': sub('a'),
      'retry.sub': sub('a', 'a_oauth_permissions = x$(RETRY)'),
      'item.sub': 'nonsense',
    };
    const text =
      'JOB A a.sub\nJOB B none.sub\nJOB C retry.sub\nSUBDAG EXTERNAL S s.dag\n' +
      Array.from({ length: 6 }, (_, i) => `JOB N${i} item.sub\n`).join('');
    expect(asked(`${text}JOB I {\nnonsense\n}`, files)).toEqual({
      requests: [['A', parseRequest('a')]],
      unknown: [
        'x.dag, line 4: s.dag is not there (node S)',
        'none.sub is not there (node B)',
        'retry.sub, line 2: $(RETRY) has no value yet when condor_submit asks for credentials (node C)',
        'item.sub, line 1: "nonsense" is neither a command nor a queue statement (node N0, N1, N2 and 3 more)',
        'the description at x.dag, line 11, line 1: "nonsense" is neither a command nor a queue statement (node I)',
      ],
    });
  });

  test('a bug is not taken for trouble with a file', () => {
    const broken = { ...world({ 'x.dag': 'JOB A a.sub', 'a.sub': '$' }), env: () => Promise.reject('x') as never };
    const dag = readDag('x.dag', broken);
    expect(() =>
      requestsOf(dag, {
        ...broken,
        read: () => {
          throw new TypeError('bug');
        },
      }),
    ).toThrow(TypeError);
  });

  test('each file is read once', () => {
    const paths: string[] = [];
    const files: Files = {
      'x.dag': 'JOB A a.sub\nJOB B a.sub\nJOB C a.sub DIR .',
      'a.sub': sub('a'),
      './a.sub': sub('a'),
    };
    const counting = { ...world(files), read: (path: string) => files[paths[paths.push(path) - 1] ?? ''] };
    requestsOf(readDag('x.dag', counting), counting);
    expect(paths).toEqual(['x.dag', 'a.sub', './a.sub']);
  });
});

describe('whatever the file', () => {
  const piece = fc.constantFrom(
    ...[
      'JOB ',
      'A',
      'B',
      ' a.sub',
      ' {',
      '}',
      '\n',
      '\n',
      '\n',
      '@=x',
      '@x',
      ' DIR d',
      ' DONE',
      'VARS ',
      'ALL_NODES',
      ' x=',
      '"',
    ],
    ...[
      "'",
      '\\',
      ' ',
      'SPLICE S',
      ' f',
      'INCLUDE f',
      'SUBDAG EXTERNAL ',
      'FINAL ',
      'SUBMIT-DESCRIPTION ',
      '#',
      '=',
      'queue',
      '+',
    ],
  );

  test('nodes, or Failed with a place', () => {
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 30 }), fc.array(piece, { maxLength: 10 }), (text, inner) => {
        const found = failure(text.join(''), { f: inner.join(''), 'd/f': 'JOB A a' });
        if ('kind' in found)
          expect(found).toMatchObject({ kind: 'usage', what: expect.stringMatching(/^(?:x\.dag|f), line \d+: /) });
        else if ('nodes' in found)
          for (const { name, before } of found.nodes) expect(name.endsWith(before.JOB ?? '?')).toBe(true);
      }),
      { numRuns: 3000 },
    );
  });

  test('a value of any text comes through its quotes', () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom(...'ab "\'\\$(){}=,#/\té') }), (value) => {
        const quoted = `"${value.replaceAll(/[\\"]/g, '\\$&')}"`;
        expect(nodesOf(`JOB A a\nVARS A x=${quoted} y = ${quoted}`)[0]?.before).toEqual({
          JOB: 'A',
          x: value,
          y: value,
        });
      }),
    );
  });

  test('ten thousand nodes in little time', () => {
    const text = Array.from({ length: 10_000 }, (_, i) => `JOB N${i} a.sub\nVARS N${i} n="${i}"\n`).join('');
    const started = performance.now();
    const { requests } = asked(text, { 'a.sub': sub('a', '# x\n'.repeat(20)) });
    expect(requests).toHaveLength(1);
    expect(performance.now() - started).toBeLessThan(10_000);
  });
});
