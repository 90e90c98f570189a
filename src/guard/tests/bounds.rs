//! Whatever the text, it is judged in bounded time, and nothing makes up for what came before.

use std::path::Path;
use std::time::{Duration, Instant};

use guard::{Context, Decision, LENGTH_MAX, judge};
use proptest::prelude::*;

/// Generous: a debug build on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

fn judged(command: &str) -> Decision {
    let began = Instant::now();
    let verdict = judge(command, &Context::sandbox());
    let shown: String = command.chars().take(60).collect();
    assert!(began.elapsed() < PATIENCE, "{shown:?} took too long");
    verdict.decision
}

#[test]
fn descriptors_that_nobody_has_are_no_panic() {
    let verdict = judge("echo 99999999999> x; echo 4>y", &Context::sandbox());
    assert_eq!(verdict.decision, Decision::Ask);
    assert!(
        verdict.reason.contains("not valid shell"),
        "{}",
        verdict.reason
    );
}

/// What arithmetic reads may hold arithmetic that reads it.
#[test]
fn values_that_expand_to_themselves_come_to_an_end() {
    for command in [
        "x='$((x))'; echo $((x))",
        "x='${y:$((x))}'; y=a; echo $((x))",
        "x='a[$((x))]'; echo ${b[x]}",
        "x='$((y))'; y='$((x))'; z='$((x+y+z))'; echo $((z))",
        "x='`echo $((x))`'; ((x))",
        "declare -i x; x='$((x))'; ((x))",
        "x='${x@P}'; echo ${x@P}",
        "x='$x'; eval echo $x; eval eval eval $x",
    ] {
        judged(command);
        assert_ne!(judged(&format!("{command}; rm -rf /")), Decision::Allow);
    }
}

/// A word that begins with a dash is an option of `time`; a path whose name does is a program.
#[test]
fn command_lines_that_run_themselves_come_to_an_end() {
    let programs = [
        "",
        "time",
        "env",
        "nice",
        "nohup",
        "sudo",
        "xargs",
        "timeout 1",
        "command",
        "exec",
        "stdbuf -o0",
        "setsid",
        "busybox",
        "watch",
        "strace",
        "parallel",
        "find . -exec",
        "ssh host",
        "docker run i",
    ];
    for program in programs {
        for rest in [
            "-x",
            "-- -x",
            "-x -- -x",
            "--",
            "--x=y",
            "-- --x -x",
            "-'\u{1}'",
            "-x time -- -x",
            "./-x",
            "a//-c -x",
            "-\t",
        ] {
            judged(&format!("{program} {rest}"));
            judged(&format!("{program} {rest} rm -rf /"));
        }
    }
}

#[test]
fn text_that_would_exhaust_the_parser_or_the_walk_is_judged_in_time() {
    let x = |text: &str, count: usize| text.repeat(count);
    for command in [
        x("(", 100_000),
        x("$(", 60_000),
        x("(", 39) + "rm x" + &x(")", 39),
        "echo ".to_owned() + &x("$(", 39) + "rm x" + &x(")", 39),
        "echo ".to_owned() + &x("\"$(", 30) + "rm x" + &x(")\"", 30),
        "echo ".to_owned() + &x("${a:-", 38) + "x" + &x("}", 38),
        x("if true; then ", 39) + "rm x" + &x("; fi", 39),
        x("for a in 1 2; do ", 20) + "rm x" + &x("; done", 20),
        "rm ".to_owned() + &x("{a,b}", 5_000),
        x("X=$X$X$X$X;", 2_000) + "rm $X",
        x("X=a$X$X;", 2_000) + "rm $X",
        x("a && ", 20_000) + "b",
        x("a | ", 20_000) + "b",
        x("eval ", 20_000) + "rm x",
        x("! ", 50_000) + "x",
        x("\\", 120_000),
        x("`", 120_000),
        x("f() { f; f; }; f;", 5_000),
        x("cat <<E\nx\nE\n", 5_000),
        // Code of other languages.
        format!("python3 -c '{}1'", x("-", 60_000)),
        format!("python3 -c '{}1'", x("not ", 15_000)),
        format!("python3 -c '{}1'", x("lambda:", 8_000)),
        format!("python3 -c '{}1'", x("1+", 30_000)),
        format!("python3 -c '{}1'", x("1**", 20_000)),
        format!("python3 -c 'x{}'", x(".a", 30_000)),
        format!("python3 -c 'x{}'", x("()", 30_000)),
        format!("python3 -c 'x{}'", x("[0]", 20_000)),
        format!("python3 -c '{}1'", x("x if x else ", 5_000)),
        format!("python3 -c '{}'", x("f(", 30_000)),
        format!("python3 -c '{}'", x("x = [x, x]\n", 5_000)),
        format!("python3 -c 'x = \"a\"\n{}'", x("x = x + x\n", 5_000)),
        format!(
            "python3 -c '{}'",
            x("for a in 1, 2, 3, 4, 5, 6, 7, 8: x = a\n", 1_500)
        ),
        format!("python3 -c 'def f(): f(); f()\nf()\n{}'", x("f()\n", 5_000)),
        "python3 -c 'x = \"exec(x)\"\nexec(x)'".to_owned(),
        format!("perl -e '{}'", x("unlink(", 15_000)),
        format!("awk '{}'", x("print | ", 15_000)),
        format!("sed '{}'", x("s/a/b/e;", 15_000)),
        format!("sed '{}'", x("{", 120_000)),
        format!(
            "printf 'all:\\n{}' > Makefile; make",
            x("\\tmake\\n", 10_000)
        ),
        "git config alias.a '!git a'; git a".to_owned(),
        "PS4='$(PS4=$PS4)'; PROMPT_COMMAND='$PROMPT_COMMAND'; BASH_ENV=$BASH_ENV".to_owned(),
        "x='y[x]'; y='x[y]'; echo $((x))".to_owned(),
        format!("echo {}", x("~99999999999999999999 ", 100)),
        "echo {1..99999999999999999999} ~-99999999999999999999".to_owned(),
        x("pushd /; popd; pushd +1; ", 3_000),
        x("- ", 50_000),
        x("-- ", 50_000),
        x("ln -s a b; mv b c; ", 3_000),
        x("env nice ", 10_000) + "rm x",
    ] {
        judged(&command);
    }
}

#[test]
fn states_that_come_together_many_times_are_judged_in_time() {
    let x = |text: &str, count: usize| text.repeat(count);
    let each = |count: usize, one: &dyn Fn(usize) -> String| -> String {
        (0..count).map(|at| one(at) + " ").collect()
    };
    for command in [
        each(200, &|at| format!("X{at}=$X{}a &&", at + 1)) + "rm x",
        each(200, &|at| format!("X{at}=$X{}a ||", at + 1)) + "rm x",
        each(200, &|_| "cd a && cd .. ||".to_owned()) + "rm x",
        each(200, &|at| format!("{at}) X=$X{at} ;&")).replacen("0)", "case x in 0)", 1) + "esac",
        each(100, &|at| format!("f{at}() {{ f{0}; f{0}; }};", at + 1)) + "f0",
        each(100, &|at| format!("f{at}() {{")) + "rm x; " + &x("}; ", 100) + "f0",
        each(38, &|at| format!("f{at}() {{")) + "rm x; " + &x("}; ", 38) + "f0",
        each(60, &|at| {
            let next = at + 1;
            format!("if a; then f{at}() {{ f{next}; }}; else f{at}() {{ f{next}; :; }}; fi;")
        }) + "f0",
        each(60, &|at| format!("alias a{at}='a{0} && a{0}';", at + 1)) + "a0",
        x("for i in a b; do ", 50) + "rm x; " + &x("done; ", 50),
        x("for i in a b; do ", 30) + "X=$X/..; cd ..; rm x; " + &x("done; ", 30),
        x("while a; do ", 30) + "X=$X/..; cd $X; set -- \"$@\" $X; " + &x("done; ", 30),
        "while a; do ".to_owned() + &each(40, &|at| format!("A{at}=$A{};", at + 1)) + "done",
        // The stack of directories grows in each round.
        x("for d in a b c; do pushd $d && make && popd; done; ", 20),
        x("while a; do pushd a; pushd b || popd; cd -; done; ", 20),
        x(
            "f() { while a; do shift; set -- \"$@\" \"$1\" x; f \"$@\"; done; }; f a b c; ",
            20,
        ),
        "echo ".to_owned() + &x("$(<", 30) + "x" + &x(")", 30),
        format!("python3 -c 'd = []\n{}'", x("d.append(d)\n", 3_000)),
        format!(
            "python3 -c 'd = []\n{}'",
            x("d.append([d, d])\nd.extend(d)\n", 1_500)
        ),
        format!(
            "python3 -c 'd = []\ndef f(a):\n a.append(a)\n d.append(a)\n{}'",
            x("f(d)\n", 3_000)
        ),
        each(40, &|at| {
            x(" ", at) + "while x:\n" + &x(" ", at + 1) + "d.append(1)\n"
        })
        .replacen("while", "python3 -c 'd = []\nwhile", 1)
            + "'",
    ] {
        judged(&command);
    }
}

#[test]
fn what_exceeds_a_bound_is_not_allowed() {
    let x = |text: &str, count: usize| text.repeat(count);
    let long = |text: &str| text.repeat((LENGTH_MAX - 100) / text.len());
    for command in [
        // Levels without brackets.
        "[[ ".to_owned() + &long("! ") + "x ]]",
        "[[ ".to_owned() + &long("a && ") + "x ]]",
        "[[ ".to_owned() + &long("a || ") + "x ]]",
        "[[ ".to_owned() + &x("( ", 41) + "x" + &x(" )", 41) + " ]]",
        long("while ") + "x",
        long("until ") + "x",
        long("coproc x ") + "x",
        long("function f coproc ") + "{ x; }",
        // What seems to close a level does not.
        long("( echo ')'; ") + "x",
        long("( # )\n") + "x",
        long("{ echo '}'; ") + "x",
        long("if echo fi; then ") + "x",
        long("while echo done; do ") + "x",
        "echo ".to_owned() + &long("$( echo ')'; ") + "x",
        "echo ".to_owned() + &long("$[ \\] ") + "x",
        "echo ".to_owned() + &long("${a:-'}'") + "x",
        "echo ".to_owned() + &long("@(\\)") + "x",
        "[[ x =~ ".to_owned() + &long("( \\) ") + "x ]]",
        // What is tried in two ways at each level.
        x("(", 40) + "x",
        "(( ".to_owned() + &x("( ", 37) + "x",
        x("case x in a) ", 39) + "x" + &x(" esac", 39),
        long("case x in esac) ") + "x",
        "echo ".to_owned() + &x("{a,", 39) + "x",
        "echo ".to_owned() + &long("{a\\},") + "x",
        "[[ x =~ ".to_owned() + &x("( ", 39) + "x ]]",
        // Each looks at the rest of the line.
        x("xargs ", 2_000) + "x",
        x("time ", 2_000) + "x",
        x("find . -exec ", 2_000) + "x",
    ] {
        let shown: String = command.chars().take(60).collect();
        assert_ne!(judged(&command), Decision::Allow, "{shown:?}");
    }
}

#[test]
fn a_long_ordinary_script_is_read() {
    let script = "if [ -e a ]; then (echo fi; echo ')') ; fi\n\
        for f in a b; do case $f in a) echo \"$(ls \"$f\")\" ;; *) x=(1 2) ;; esac; done\n\
        while read l; do echo \"${l:-}\"; done < a\nf() { [[ -e a && ! -e b ]] || echo }; }\n\
        cat > x.py <<'E'\nprint(\"if (\", '{')\nE\n";
    assert_eq!(judged(&script.repeat(30)), Decision::Allow);
}

#[test]
fn what_is_too_long_is_not_allowed() {
    let command = format!("echo {}", "a".repeat(LENGTH_MAX));
    assert_eq!(judged(&command), Decision::Ask);
    // A line of a megabyte, of whatever it is.
    for piece in ["a", "a ", "$(", "'", "{a,b}", "\n", "é", "if "] {
        let command = piece.repeat((1 << 20) / piece.len());
        assert_eq!(judged(&command), Decision::Ask, "{piece:?}");
    }
    assert_eq!(judged("echo \0"), Decision::Ask);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_text_is_judged(text: String) {
        judged(&text);
    }

    #[test]
    fn pieces_of_shell_are_judged(pieces in prop::collection::vec(prop::sample::select(PIECES), 0..30)) {
        judged(&pieces.join(" "));
    }

    #[test]
    fn pieces_of_code_are_judged(
        program in prop::sample::select(&["python3 -c", "perl -e", "node -e", "ruby -e", "awk", "sed"][..]),
        pieces in prop::collection::vec(prop::sample::select(CODE), 0..30),
    ) {
        let code = pieces.join(" ");
        judged(&format!("{program} {}", quoted(&code)));
        // Whatever it is called with, code that removes something outside is not allowed.
        let python = format!("import os\nos.remove('/etc/x')\ndef f():\n    {}\n", code.replace('\n', " "));
        let decision = judged(&format!("python3 -c {}", quoted(&python)));
        prop_assert_ne!(decision, Decision::Allow);
    }

    #[test]
    fn more_commands_do_not_make_up_for_a_refused_one(word in "x[a-z]{1,8}") {
        let command = format!("rm -rf /etc\n{word} x\necho {word}");
        prop_assert_eq!(judged(&command), Decision::Refuse);
        let command = format!("true {word}; (cd /; rm -rf usr)");
        prop_assert_eq!(judged(&command), Decision::Refuse);
    }
}

const PIECES: &[&str] = &[
    "rm", "-rf", "/etc", "x", "$X", "\"$X\"", "${X:-/}", "$(", ")", "`", "'", "\"", "{", "}", "(",
    ";", "&&", "||", "|", "&", "\n", "<<E", "E", "<<<", ">", ">>", "<", "2>&1", "for", "in", "do",
    "done", "if", "then", "fi", "case", "esac", ";;", "while", "cd", "..", "eval", "sh", "-c",
    "xargs", "find", "-exec", "\\;", "X=/", "f()", "*", "~", "$'\\x2f'", "python3", "{a,b}", "[[",
    "]]", "((", "))", "!", "time", "trap", "awk", "sed", "-i", "tar", "git", "#",
];

const CODE: &[&str] = &[
    "os",
    ".",
    "remove",
    "(",
    ")",
    "'/etc/x'",
    "\"a\"",
    "[",
    "]",
    "{",
    "}",
    ",",
    "=",
    "+",
    "-",
    "not",
    "lambda",
    ":",
    "x",
    "for",
    "in",
    "if",
    "else",
    "import",
    "from",
    "def",
    "class",
    "f",
    "\n",
    "    ",
    "*",
    "**",
    "%",
    "/",
    "|",
    ">",
    "$x",
    "@x",
    "eval",
    "exec",
    "system",
    "open",
    "unlink",
    "print",
    "getattr",
    "__import__",
    "map",
    "while",
    "with",
    "as",
    "s/a/b/e",
    "w x",
    "1",
    "e",
    "`",
    "#",
    ";",
];

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[test]
fn the_seeds_of_the_fuzz_target_are_judged() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/corpus/shell");
    let mut seen = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        let more = judged(&format!("{text}\nls"));
        assert!(
            judged(&text) != Decision::Refuse || more != Decision::Allow,
            "{text}"
        );
        seen += 1;
    }
    assert!(seen > 0);
}
