use super::*;

fn read(text: &str) -> FrontMatter {
    let read = FrontMatter::read(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    assert_eq!(read.mended, None, "{text}");
    read.matter
}

fn refused(text: &str, line: usize, why: &str) {
    let error = FrontMatter::read(text).map(|read| read.matter).unwrap_err();
    assert_eq!(error.line, Some(line), "{text}: {error}");
    assert!(error.to_string().contains(why), "{text}: {error}");
}

#[test]
fn everything_that_a_person_can_say_is_read() {
    let digest = Digest::of(b"x");
    let text = format!(
        "\u{feff}---\r\nname: csv-cleaner\r\ndescription: >\r\n  Cleans\r\n  tables.\r\nentry_file: main.py\r\n\
         skills: [llm, execute_shell_command]\r\ndepends:\r\n  - other@{digest}\r\negress: [A.example.org, b.example.org:8443]\r\n\
         limits: {{timeout: 2m, memory: 1G, pids: 64}}\r\npython: 3.13\r\nrequirements:\r\n  - pandas>=2\r\nlicense: MIT\r\n---\r\n\r\n# Body\r\n"
    );
    let matter = read(&text);
    assert_eq!(matter.name.as_deref(), Some("csv-cleaner"));
    assert_eq!(matter.description.as_deref(), Some("Cleans tables.\n"));
    assert_eq!(matter.entry_file.as_deref(), Some("main.py"));
    assert_eq!(
        matter.skills,
        Some([Skill::Llm, Skill::ShellCommand].into())
    );
    assert_eq!(
        matter.depends,
        Some([("other".parse().unwrap(), digest)].into())
    );
    let hosts = ["a.example.org", "b.example.org:8443"].map(str::to_owned);
    assert_eq!(matter.egress, Some(hosts.into()));
    assert_eq!(matter.python.as_deref(), Some("3.13"));
    assert_eq!(matter.requirements, Some(vec!["pandas>=2".to_owned()]));
    let limits = matter.limits.as_ref().unwrap();
    assert_eq!(limits.wall, Some(std::time::Duration::from_mins(2)));
    assert_eq!(limits.pids, Some(64));
    // Written by us it says the same.
    assert_eq!(read(&matter.write()), matter);
    assert_eq!(FrontMatter::read(&text).unwrap().body, "# Body\r\n");
}

#[test]
fn what_is_not_said_is_none_and_tools_of_others_are_theirs() {
    assert_eq!(read("---\n---\n"), FrontMatter::default());
    let matter = read("---\nname: a\nallowed-tools: Bash(git:*) Read\n---\n");
    assert_eq!(matter.skills, None);
    let matter = read("---\nname: a\nallowed-tools: Bash, llm\n---\n");
    assert_eq!(matter.skills, Some([Skill::Llm].into()));
    assert_eq!(read("---\nskills: []\n---\n").skills, Some([].into()));
}

#[test]
fn what_is_wrong_is_pointed_at() {
    refused("name: a\n", 1, "does not begin with `---`");
    refused(
        "---\nname: a\nskills: [fly]\n---\n",
        3,
        "`fly` is not a skill",
    );
    refused("---\nname: a\n\nlimits: {memory: lots}\n---\n", 4, "lots");
    refused("---\nlimits: {pids: 0}\n---\n", 2, "pids");
    refused("---\nlimits: {speed: 3}\n---\n", 2, "speed");
    refused("---\ndepends: [other]\n---\n", 2, "NAME@sha256:DIGEST");
    // No guess where a guess could grant something.
    refused(
        "---\ndescription: a: b: c\nskills: []\n---\n",
        2,
        "description",
    );
    let whole = FrontMatter::read("---\nname: a\n").unwrap_err();
    assert_eq!(whole.line, None);
    assert!(whole.to_string().contains("does not end"), "{whole}");
    assert!(FrontMatter::read(&"-".repeat(SKILL_MD_MAX + 1)).is_err());
}

#[test]
fn a_bomb_is_refused() {
    let nested = format!("---\nname: {}\n---\n", "[".repeat(10_000));
    drop(FrontMatter::read(&nested));
    let mut laughs = "---\na: &a [x,x,x,x,x,x,x,x,x]\n".to_owned();
    for level in 1..20 {
        let line = format!("b{level}: &b{level} [*a,*a,*a,*a,*a,*a,*a,*a]\n");
        laughs.push_str(&line);
    }
    laughs.push_str("skills: *b19\n---\n");
    assert!(FrontMatter::read(&laughs).is_err());
    let many = format!("---\nskills: [{}]\n---\n", "llm, ".repeat(2_000));
    refused(&many, 2, "more than 1000");
}

#[test]
fn front_matter_of_the_reference_is_read_though_it_is_no_yaml() {
    let text = "---\nname: audio_transcriber\ndescription: **Problem Category**: Audio: with \"Whisper\"\n**Key Features**:\n- one\nentry_file: audio_transcriber.py\n---\n\n# audio\n";
    let read = FrontMatter::read(text).unwrap();
    let matter = read.matter;
    assert_eq!(matter.name.as_deref(), Some("audio_transcriber"));
    assert_eq!(
        matter.description.as_deref(),
        Some("**Problem Category**: Audio: with \"Whisper\"\n**Key Features**:\n- one")
    );
    assert_eq!(matter.entry_file.as_deref(), Some("audio_transcriber.py"));
    assert_eq!(matter.skills, None);
    assert_eq!(read.mended.unwrap().line, Some(3));
}

/// The seeds of the fuzzer, and what it found.
#[test]
fn the_seeds_of_the_fuzzer_are_read_or_refused() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = folder.join("../../tests/fuzz/corpus/front_matter");
    let mut seeds = 0;
    for seed in std::fs::read_dir(folder).unwrap() {
        let bytes = std::fs::read(seed.unwrap().path()).unwrap();
        check_any(&String::from_utf8_lossy(&bytes));
        seeds += 1;
    }
    assert!(seeds > 5, "the seeds are there");
}
