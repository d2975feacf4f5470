#!/usr/bin/env bash
# Run tests in terminals of several kinds, to prove that they do not depend on the one at hand.
#
#   tools/any_terminal.sh                   the tests that draw text, in every setting below
#   tools/any_terminal.sh 100 LC_ALL=C      the same tests, in these settings only
#   tools/any_terminal.sh --all 100         the whole suite, in these settings only
#
# A setting is a width in columns or a NAME=VALUE of the environment. Each is tried in a terminal
# of its own, made by `script`, so that stdin, stdout and stderr are terminals. Prints one line per
# setting: the setting and pytest's closing line. Exits with 1 if a setting failed.
# PYTHON names the interpreter. PYTEST_ARGS replaces what pytest is given besides the tests, which is
# what `make test` gives it; `PYTEST_ARGS=` runs all in one process.
set -u

cd "$(dirname "$0")/.." || exit 2
PYTHON="${PYTHON:-$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python3)}"

PYTEST_ARGS="${PYTEST_ARGS--n auto --dist loadfile}"
readonly SETTINGS=(70 100 140 LC_ALL=C NO_COLOR=1 FORCE_COLOR=1 TERM=dumb TZ=Asia/Kolkata)
# Of a terminal of 80 columns, unless the setting is a width.
readonly USUAL_WIDTH=80

# What the shell that calls this script has set must not outrank the setting.
unset COLUMNS LINES LC_ALL NO_COLOR FORCE_COLOR TZ PYTHONUTF8 PYTHONIOENCODING
export TERM=xterm

fail() {
    echo "any_terminal: $1" >&2
    exit 2
}

# Print the folders and files of the tests that draw text: screens, commands and their answers.
# They are found by what they use, so that a test that is moved or added is run too. The README's
# examples and other tests that train at length are left to `--all`.
tests_that_draw() {
    echo tests/views
    echo tests/cli
    grep --recursive --files-with-matches --include='test_*.py' \
        --extended-regexp 'Console\(|capsys' tests |
        grep --invert-match --extended-regexp '^tests/(views|cli)/|/test_readme\.py$' |
        sort
}

# Run pytest in a terminal: run_in_terminal SETTING LOG TEST...
run_in_terminal() {
    local setting=$1 log=$2 width=$USUAL_WIDTH
    shift 2
    local command=("$PYTHON" -m pytest)
    if [[ $setting == *=* ]]; then
        command=(env "$setting" "${command[@]}")
    else
        width=$setting
    fi
    # pyproject.toml asks for one `-q`, which leaves out the closing line; `-v` brings it back.
    script --quiet --return --command \
        "stty cols $width rows 40; ${command[*]} -v --color=no $PYTEST_ARGS $*" \
        /dev/null >"$log" 2>&1 </dev/null
}

# Print pytest's closing line, such as `12 passed in 3.45s`.
closing_line() {
    tr --delete '\r' <"$1" | grep --text --extended-regexp ' in [0-9.]+s' | tail --lines=1 |
        sed 's/^=* *//; s/ *=*$//'
}

settings=()
all=no
for word in "$@"; do
    if [ "$word" = --all ]; then
        all=yes
    elif [ "$word" = --help ] || [ "$word" = -h ]; then
        sed --quiet '2,/^set/ s/^# \{0,1\}//p' "$0"
        exit 0
    elif [[ $word =~ ^[1-9][0-9]*$ || $word =~ ^[A-Z_][A-Z0-9_]*=[^[:space:]]*$ ]]; then
        settings+=("$word")
    else
        fail "'$word' is neither a width, such as 100, nor a variable, such as NO_COLOR=1"
    fi
done
if [ "${#settings[@]}" -eq 0 ]; then
    [ "$all" = no ] || fail "--all takes minutes per setting: name the settings, as in --all 100"
    settings=("${SETTINGS[@]}")
fi
script --version >/dev/null 2>&1 ||
    fail "the command 'script' of util-linux is missing (Debian, Ubuntu: apt-get install bsdutils)"
"$PYTHON" -m pytest --version >/dev/null 2>&1 ||
    fail "$PYTHON has no pytest: run 'make check' first, or set PYTHON to an interpreter with it"

if [ "$all" = yes ]; then
    tests=(tests)
else
    mapfile -t tests < <(tests_that_draw)
fi
folder=$(mktemp --directory)
trap 'rm -rf "$folder"' EXIT
failed=0
for setting in "${settings[@]}"; do
    log=$folder/log
    if run_in_terminal "$setting" "$log" "${tests[@]}"; then
        result=passed
    else
        result=FAILED
        failed=1
    fi
    printf '%-18s %s  %s\n' "$setting" "$result" "$(closing_line "$log")"
    if [ "$result" = FAILED ]; then
        grep --text --extended-regexp '^(FAILED|ERROR|E  )' "$log" || tail --lines=30 "$log"
    fi
done
exit "$failed"
