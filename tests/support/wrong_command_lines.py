"""Command lines that use ``parity`` wrongly, each with a part of its message."""

from __future__ import annotations

import shlex

RUN = """
run --backend                                       | argument --backend: expected one argument
run --backend ''                                    | --backend '': no such backend; there are: lmdeploy,
run --backend vlm                                   | did you mean vllm?
run --backend vllm --model                          | argument --model: expected one argument
run --backend vllm --model ''                       | --model: '' is no family (
run --backend vllm --model Qwen2-VL                 | did you mean qwen2_vl
run --backend vllm --model ./nope                   | no existing folder
run --backend vllm --model file.txt                 | --model: 'file.txt' is no family (
run --backend vllm --model empty                    | 'empty' is a folder without config.json
run --backend vllm --model '~nobody/x'              | no existing folder
run --backend vllm --model-list nope.toml           | nope.toml: no such file
run --backend vllm --model-list empty               | empty: is a folder, not a file
run --backend vllm --model-list broken.toml         | broken.toml: Expected ']]'
run --backend vllm --model-list latin.toml          | latin.toml:1: not UTF-8
run --backend vllm --model-list ''                  | argument --model-list: '' is not a path
run --backend vllm --mode prefix-cached             | did you mean prefix_cached?
run --backend vllm --mode ''                        | --mode '': not available
run --backend vllm --mode batched --depth tokens    | vllm at --depth tokens has: default
run --backend vllm --mode batched --entry-point text| --mode batched: runs only with --entry-point chat
run --backend vllm --entry-point chatt              | did you mean chat?
run --backend vllm --case one_imag                  | matches none of the cases; did you mean one_image
run --backend vllm --case ''                        | --case '': matches none of the cases
run --backend vllm --cases nope                     | --cases nope: no such folder
run --backend vllm --cases file.txt                 | --cases file.txt: is a file, not a folder
run --backend vllm --cases empty                    | empty: no cases (*.yaml)
run --backend vllm --cases broken                   | broken/broken.yaml
run --backend vllm --known-issues nope.toml         | nope.toml: no such file
run --backend vllm --known-issues empty             | empty: is a folder, not a file
run --backend vllm --known-issues broken.toml       | broken.toml: Expected ']]'
run --known-issues x --no-known-issues              | --known-issues and --no-known-issues exclude each
run --backend vllm --no-known-issues=3              | ignored explicit argument '3'
run --backend vllm --media-root nope                | --media-root nope: no such folder
run --backend vllm --media-root ''                  | argument --media-root: '' is not a path
run --backend vllm --depth token                    | argument --depth: invalid choice: 'token'
run --backend vllm --depth tokens --depth ''        | argument --depth: invalid choice: ''
run --backend vllm --device tpu                     | argument --device: invalid choice: 'tpu'
run --backend vllm --dtype int4                     | argument --dtype: invalid choice: 'int4'
run --backend vllm --reference-dtype int4           | argument --reference-dtype: invalid choice: 'int4'
run --backend vllm --engine-arg eager               | argument --engine-arg: 'eager' must be NAME=VALUE
run --backend vllm --engine-arg =3                  | argument --engine-arg: '=3' must be NAME=VALUE
run --backend vllm --load-timeout x                 | argument --load-timeout: 'x' is not a number of seconds
run --backend vllm --load-timeout 0                 | argument --load-timeout: '0' is not a number of seconds
run --backend vllm --load-timeout -5                | '-5' is not a number of seconds
run --backend vllm --load-timeout nan               | 'nan' is not a number of seconds
run --backend vllm --case-timeout inf               | --case-timeout: 'inf' is not a number of seconds
run --backend vllm --case-timeout 1e300             | '1e300' is not a number of seconds
run --backend vllm --run file.txt                   | file.txt is a file, not a folder
run --backend vllm --run file.txt/x                 | file.txt is a file, not a folder
run --backend vllm --run ''                         | argument --run: '' is not a path
run --backend vllm --shard ''                       | argument --shard: must not be empty
run --backend vllm --shard ../x                     | shard '../x': a shard's name is letters
run --backend vllm --shard 'a b'                    | shard 'a b': a shard's name is letters
run --backend vllm --shard 6/5                      | argument --shard: '6/5' is no share N/M
run --backend vllm --shard 1/x                      | shard '1/x': a shard's name is letters
run --backend vllm --shard 1/2 --fuzz               | --shard N/M divides comparisons
run --backend vllm --timings file.txt               | --timings needs --shard N/M
run --backend vllm --shard 1/2 --timings nope       | --timings nope: not a readable Timings
run --backend vllm --shard 1/2 --timings empty      | --timings empty: holds no shard
run --backend vllm --reproduce-command ''           | argument --reproduce-command: must not be empty
run --backend vllm --rejudge nope                   | --rejudge nope: no such folder
run --backend vllm --rejudge file.txt               | --rejudge file.txt: is a file, not a folder
run --backend vllm --rejudge empty                  | --rejudge empty: holds no traces
run --backend vllm --reference-traces empty         | --reference-traces empty: holds no traces
run --backend vllm --rejudge . --reference-traces . | --rejudge and --reference-traces exclude each other
run --backend vllm --rejudge . --fuzz               | --rejudge starts no engine
run --backend vllm --fuzz-profile daily             | argument --fuzz-profile: invalid choice: 'daily'
run --backend vllm --fuzz-seconds 0                 | argument --fuzz-seconds: '0' is not a number of seconds
run --backend vllm --fuzz-examples 0                | --fuzz-examples: '0' is not a whole number from 1
run --backend vllm --fuzz-examples 1.5              | '1.5' is not a whole number from 1
run --backend vllm --fuzz-seed x                    | argument --fuzz-seed: invalid int value: 'x'
run --backend vllm --fuzz-fault nope                | --fuzz-fault nope: no such fault
run --backend vllm --fuzz-fault ''                  | argument --fuzz-fault: must not be empty
run --backend vllm --cluster ''                     | argument --cluster: '' must be auto, local or HOST
run --backend vllm --cluster here                   | argument --cluster: 'here' must be auto, local or
run --backend vllm --cluster ray://here:10001       | argument --cluster: 'ray://here:10001' must be auto
run --backend vllm --cluster here:0                 | argument --cluster: 'here:0' must be auto, local or
run --backend vllm --clutser auto                    | did you mean --cluster or
run --backend vllm --load-gpus 1                    | --load-gpus: runs only with --cluster
run --backend vllm --backend-env vllm=x             | --backend-env: runs only with --cluster
run --backend vllm --cluster auto --load-cpus -1    | argument --load-cpus: '-1' is not a number from 0
run --backend vllm --cluster auto --load-memory nan | argument --load-memory: 'nan' is not a number from 0
run --backend vllm --cluster auto --backend-env x   | argument --backend-env: 'x' must be NAME=VALUE
run --backend vllm --cluster auto --backend-env vllm=uv:nope   | no such file:
run --backend vllm --cluster auto --backend-env lmdeploy=x     | the backend is not tested; add --backend lm
run --backend vlm --cluster auto                    | did you mean vllm?
run --backend vllm --cluster auto --case nope       | --case nope: matches none of the cases
run --backend vllm --cluster auto --mode nope       | --mode nope: not available
run --backend vllm --cluster auto --shard x         | --shard would name the shards of all loads
run --backend vllm --cluster auto --rejudge .       | --rejudge starts no engine; it excludes --cluster
run --backend vllm --cluster auto --fuzz            | --fuzz excludes --cluster
run --backend vllm --cluster auto --run file.txt    | file.txt is a file, not a folder
run --backend vllm --cluster auto -- -n 2           | -n excludes --cluster
run --backend vllm --cluster auto -- -q             | pytest: unrecognized arguments: -q
run --backend vllm --cluster auto -- --parity-mode x| with --cluster, write --mode in front of --
run nope --backend vllm                             | PATH 'nope': no such file or folder
run nope/test_x.py::test_y --backend vllm           | no such file or folder
run '' --backend vllm                               | PATH '': no such file or folder
run --bakcend vllm                                  | no such option: --bakcend; did you mean --backend or
run --backend vllm -- --nope                        | pytest: unrecognized arguments: --nope
run --backend vllm -- -k                            | pytest: argument -k: expected one argument
run --backend vllm -- --parity-case nope            | --case nope: matches none of the cases
run --backend vllm -- --parity-load-timeout 0       | pytest: argument --parity-load-timeout: '0' is not
"""
CHECK = """
check                                               | the following arguments are required: MODEL
check ''                                            | MODEL: '' is no family (
check qwen2vl                                       | did you mean qwen2_vl
check file.txt                                      | MODEL: 'file.txt' is no family (
check empty                                         | MODEL: 'empty' is a folder without config.json
check '~nobody/x'                                   | no existing folder
check qwen2_vl extra                                | unrecognized arguments: extra
check qwen2_vl --suite cases --backend vlm          | --backend vlm: no such backend; did you mean vllm?
check qwen2_vl --suite cases --case nope            | --case nope: matches none of the cases
check qwen2_vl --suite cases --backend vllm --case ''     | --case '': matches none of the cases
check qwen2_vl --suite cases --depth nope           | argument --depth: invalid choice: 'nope'
check qwen2_vl --suite cases --engine-arg x         | argument --engine-arg: 'x' must be NAME=VALUE
check qwen2_vl --suite cases --run file.txt/x       | file.txt is a file, not a folder
check qwen2_vl --suite cases --model-list empty     | empty: is a folder, not a file
check qwen2_vl --suite cases --media-root file.txt  | argument --media-root: file.txt: no such folder
check qwen2_vl --suite nope                         | --suite nope: no such folder
check qwen2_vl --suite file.txt                     | --suite file.txt: is a file, not a folder
check qwen2_vl --suite empty                        | empty/conversations: no cases (*.yaml)
check qwen2_vl --suite ''                           | argument --suite: '' is not a path
"""
REPORT = """
report                                              | the following arguments are required: RUN
report ''                                           | argument RUN: '' is not a path
report nope                                         | RUN nope: no such folder
report file.txt                                     | RUN file.txt: is a file, not a folder
report empty                                        | RUN empty: holds no shard
report a_run empty                                  | RUN empty: holds no shard
report older                                        | an earlier version of vlm-parity wrote it
report a_run --require-shard ../x                   | shard '../x': a shard's name is letters
report a_run --require-shard ''                     | shard '': a shard's name is letters
report a_run --known-issues nope.toml               | nope.toml: no such file
report a_run --known-issues broken.toml             | broken.toml: Expected ']]'
report a_run --out file.txt                         | --out file.txt:
report a_run --out file.txt/x                       | file.txt is a file, not a folder
report a_run --matrix empty                         | --matrix empty: is a folder, not a file
report a_run --matrix file.txt/x.md                 | file.txt is a file, not a folder
"""
SERVE = """
serve nope                                          | DIR nope: no such folder
serve file.txt                                      | DIR file.txt: is a file, not a folder
serve empty                                         | empty: neither a run with a report nor a folder
serve a_run                                         | a_run: neither a run with a report nor a folder
serve ''                                            | argument DIR: '' is not a path
serve empty --port 65536                            | argument --port: '65536' is not a port from 0 to 65535
serve empty --port x                                | argument --port: 'x' is not a port from 0 to 65535
serve empty --host ''                               | argument --host: must not be empty
"""
COMPARE = """
compare                                             | the following arguments are required: RUN, --baseline
compare a_run                                       | the following arguments are required: --baseline
compare nope --baseline a_run                       | RUN nope: no such folder
compare a_run --baseline nope                       | --baseline nope: no such folder; store
compare empty --baseline a_run                      | RUN empty: the run holds no shard
compare a_run --baseline older                                 | an earlier version of vlm-parity wrote it
compare a_run --baseline file.txt                   | --baseline file.txt: is a file, not a folder
compare a_run --baseline a_run --factor 0.9                    | '0.9' is not a number from 1
compare a_run --baseline a_run --json empty                    | --json empty: is a folder, not a file
gate a_run                                          | the following arguments are required: --baseline
gate a_run --baseline nope                          | --baseline nope: no such folder
gate a_run --baseline empty                         | --baseline empty: the run holds no shard
gate a_run --baseline a_run --junit file.txt/x      | file.txt is a file, not a folder
"""
SELFCHECK = """
selfcheck --backend vlm                             | did you mean vllm?
selfcheck --backend transformers                    | --backend transformers: no fault is defined for it
selfcheck --model nope                              | --model nope: no such family
selfcheck --model gemma3                            | no fault of vllm or lmdeploy or gemma3 matches
selfcheck --fault nope                              | --fault nope: matches none of the faults
selfcheck --fault ''                                | --fault '': matches none of the faults
selfcheck --dtype int4                              | argument --dtype: invalid choice: 'int4'
selfcheck --run file.txt                            | file.txt is a file, not a folder
selfcheck --shard a/b                               | shard 'a/b': a shard's name is letters
selfcheck --require-shard a/b                       | shard 'a/b': a shard's name is letters
selfcheck --markdown empty                          | --markdown empty: is a folder, not a file
selfcheck --report-only                             | name the run folder of the self-check by --run
selfcheck --report-only --run nope                  | --run nope: no such folder
selfcheck --report-only --run empty                 | --run empty: holds no self-check
selfcheck --report-only --run empty --quick         | --quick has no effect
"""
PROMOTE = """
promote                                             | the following arguments are required
promote ''                                          | argument RUN_OR_FILE: '' is not a path
promote nope                                        | RUN_OR_FILE nope: no such folder
promote empty                                       | empty: holds no case of the fuzzer
promote broken/broken.yaml                          | broken/broken.yaml
promote cases/conversations/text_only.yaml other    | names select cases of a run
promote cases/conversations/text_only.yaml          | exists already; --name NAME renames the case
promote cases/conversations/text_only.yaml --name ../x    | --name '../x': a name is
promote cases/conversations/text_only.yaml --name ''      | --name '': a name is
promote cases/conversations/text_only.yaml --name y --output-dir file.txt/x | file.txt is a file, not a folder
promote cases/conversations/text_only.yaml --name y --output-dir '' | argument --output-dir: '' is not a path
"""
REPLAY = """
replay --suite cases lmdeploy_image_slot            | did you mean lmdeploy_image_slots?
replay --suite cases ''                             | NAME '': matches none of the replays
replay --suite cases --list nope                    | NAME nope: matches none of the replays
replay --suite nope                                 | --suite nope: no such folder
replay --suite file.txt                             | --suite file.txt: is a file, not a folder
replay --suite empty                                | empty/replays: holds no replay (*.yaml)
replay --suite cases --jobs 0                       | argument --jobs: '0' is not a whole number from 1
replay --suite cases --jobs nan                     | argument --jobs: 'nan' is not a whole number from 1
replay --suite cases --run file.txt                 | file.txt is a file, not a folder
replay --suite cases --run ''                       | argument --run: '' is not a path
replay --suite other                                | conversations/nope.yaml
"""
BISECT = """
bisect                                              | the following arguments are required: --backend
bisect ON                                           | name both ends
bisect ON --good 0.8.0                              | name both ends
bisect ON --good 0.8.0 --bad x                      | argument --bad: 'x' is not a version
bisect ON --good '' --bad 0.8.0                     | argument --good: '' is not a version
bisect ON --good 0.8.0 --bad 0.8.0                  | both ends are 0.8.0
bisect ON --good 0.8.0 --bad 0.9.9                  | has no such release of lmdeploy
bisect ON --good 0.8.0 --bad 0.7.3 --from 0.7.0     | name both ends
bisect ENDS --backend lmdeplo                       | no such backend; did you mean lmdeploy?
bisect ENDS --model nope                            | --model nope: neither a family nor
bisect ENDS --model empty                           | --model empty: neither a family nor
bisect ENDS --case nope                             | --case nope: matches none of the cases
bisect ENDS --case 'one*'                           | a bisection has one case
bisect ENDS --mode batched                          | whose only mode is default
bisect ENDS --entry-point server                    | lmdeploy at the depth tokens has: chat
bisect ENDS --entry-point nope                      | argument --entry-point: invalid choice: 'nope'
bisect ENDS --engine-arg x                          | argument --engine-arg: 'x' must be NAME=VALUE
bisect ENDS --vary transformers                     | --vary and --release belong together
bisect ENDS --release 0.8.0                         | --vary and --release belong together
bisect ENDS --vary 'a b' --release 0.8.0            | 'a b' is not the name of a distribution
bisect ENDS --vary transformers --release 0.0.1     | --release: lmdeploy 0.0.1: no adapter for this release
bisect ENDS --vary numby --release 0.8.0            | --vary numby: pip cannot list releases of numby
bisect ENDS --pin x                                 | argument --pin: 'x' must be NAME=VERSION
bisect ENDS --pin numpy=y                           | argument --pin: 'y' is not a version
bisect ENDS --pin 'a b=1'                           | 'a b' is not the name of a distribution
bisect ENDS --reference-version 0.0.1               | --reference-version: transformers 0.0.1: no adapter
bisect ENDS --reference-version 5.5.5               | --reference-version 5.5.5: the package index has no such
bisect ENDS --backend transformers                  | a release never differs from itself
bisect ENDS --jobs 0                                | argument --jobs: '0' is not a whole number from 1
bisect ENDS --suite nope                            | --suite nope: no such folder
bisect ENDS --suite empty                           | empty/conversations: no cases (*.yaml)
bisect ENDS --run file.txt                          | file.txt is a file, not a folder
"""
HISTORY = """
history                                             | the following arguments are required: --backend
history ON                                          | name both ends
history ON --releases ''                            | argument --releases: '' is not a version
history ON --releases 0.7.3,                        | argument --releases: '' is not a version
history ON --releases 0.7.3,x                       | argument --releases: 'x' is not a version
history ON --releases 9.9.9                         | --releases: lmdeploy 9.9.9: no adapter for this release
history ON --releases 0.8.1                         | --releases 0.8.1: the package index has no such release
history ON --releases 0.7.3 --from 0.7.0            | cannot be combined with --from and --to
history ON --from 0.7.3                             | name both ends
history ON --from 0.7.3 --to 99.0                   | has no such release of lmdeploy
history ON --releases 0.7.3 --case nope             | --case nope: matches none of the cases
history ON --releases 0.7.3 --jobs -1               | argument --jobs: '-1' is not a whole number from 1
history ON --releases 0.7.3 --run file.txt/x        | file.txt is a file, not a folder
"""
OTHERS = """
                                                    | the following arguments are required: COMMAND
''                                                  | invalid choice: ''
nonsense                                            | invalid choice: 'nonsense'
cases nope                                          | DIR nope: no such folder
cases /nope                                         | DIR /nope: no such folder
cases file.txt                                      | DIR file.txt: is a file, not a folder
cases ''                                            | argument DIR: '' is not a path
cases empty                                         | DIR empty: holds no case file (*.yaml)
cases cases cases                                   | unrecognized arguments: cases
models --model-list                                 | argument --model-list: expected one argument
models --model-list nope.toml                       | nope.toml: no such file
models --model-list empty                           | empty: is a folder, not a file
models --model-list ''                              | argument --model-list: '' is not a path
models --model-list broken.toml                     | broken.toml: Expected ']]'
models --model-list latin.toml                      | latin.toml:1: not UTF-8
models x                                            | unrecognized arguments: x
cache x                                             | unrecognized arguments: x
cache --cleer                                       | unrecognized arguments: --cleer
fix-torchvision x                                   | unrecognized arguments: x
"""
ON = "--backend lmdeploy --model model --case one_image --suite cases"
ENDS = f"{ON} --good 0.8.0 --bad 0.7.3"


def _split_table(table: str) -> list[tuple[str, str]]:
    rows = (line.partition("|") for line in table.strip("\n").splitlines())
    return [(words.strip(), message.strip()) for words, _, message in rows]


WRONG_COMMAND_LINES = [
    row
    for table in (RUN, CHECK, REPORT, SERVE, COMPARE, SELFCHECK, PROMOTE, REPLAY, BISECT, HISTORY, OTHERS)
    for row in _split_table(table)
]
"""Command lines without ``parity``, and parts of their messages."""


def split_words(line: str) -> list[str]:
    """Split a command line; ``ON`` and ``ENDS`` stand for options of ``bisect`` and ``history``."""
    return shlex.split(line.replace(" ENDS", f" {ENDS}").replace(" ON", f" {ON}"))
