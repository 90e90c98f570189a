use std::path::PathBuf;

use serde_json::json;

use super::*;

fn open(script: &str) -> Result<(tempfile::TempDir, ScriptedModel), String> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("code.py"),
        "def main(query):\n    return {}\n",
    )
    .unwrap();
    std::fs::write(folder.path().join("latin1.txt"), b"\xe9").unwrap();
    let file = folder.path().join("script.yaml");
    std::fs::write(&file, script).unwrap();
    match ScriptedModel::open(&file) {
        Ok(model) => Ok((folder, model)),
        Err(LlmError::NotConfigured { why, .. }) => {
            Err(why.replace(&format!("{}/", folder.path().display()), ""))
        }
        Err(other) => panic!("{other:?}"),
    }
}

fn request(purpose: Purpose, text: &str) -> Request {
    Request {
        purpose,
        system: "System.".to_owned(),
        messages: vec![Message {
            role: crate::Role::User,
            content: vec![
                Block::ToolResult {
                    id: "1".to_owned(),
                    content: text.to_owned(),
                    is_error: false,
                },
                Block::Text {
                    text: "Go on.".to_owned(),
                },
            ],
        }],
        tools: Vec::new(),
        max_tokens: 100,
    }
}

/// The text of the reply, or the error.
fn say(model: &ScriptedModel, purpose: Purpose, text: &str) -> Result<String, String> {
    let mut observed = String::new();
    let mut observe = |delta: Delta<'_>| {
        if let Delta::Text(text) = delta {
            observed.push_str(text);
        }
    };
    match model.answer(&request(purpose, text), &mut observe) {
        Ok(_) => Ok(observed),
        Err(LlmError::Script { why, .. }) => Err(why),
        Err(other) => panic!("{other:?}"),
    }
}

#[test]
fn the_example_of_the_documentation_works() {
    let documentation = include_str!("../../SCRIPTED.md");
    let example = documentation
        .split("```yaml\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next())
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    for name in ["line_counter.py", "line_counter_2.py"] {
        std::fs::write(folder.path().join(name), "code").unwrap();
    }
    let file = folder.path().join("script.yaml");
    std::fs::write(&file, example).unwrap();
    let model = ScriptedModel::open(&file).unwrap();
    let agent = |text| {
        model
            .answer(&request(Purpose::MetaAgent, text), &mut |_| ())
            .unwrap()
    };
    let create = agent("the task");
    let Block::ToolCall {
        id,
        name,
        arguments: Ok(arguments),
    } = &create.content[1]
    else {
        panic!("{create:?}");
    };
    assert_eq!(
        (id.as_str(), name.as_str()),
        ("scripted_1_0", "create_subagent")
    );
    assert_eq!(
        (&arguments["name"], &arguments["code"]),
        (&json!("line-counter"), &json!("code"))
    );
    assert_eq!(create.stop, StopReason::ToolUse);
    assert_eq!(agent("saved").content.len(), 1);
    assert_eq!(agent("Traceback ...").content.len(), 3);
    assert_eq!(agent("it has 3 lines").stop, StopReason::ToolUse);
    for _ in 0..2 {
        let answer = say(&model, Purpose::Subagent, "the path of the project");
        assert_eq!(answer.as_deref(), Ok("/mnt/project"));
    }
}

#[test]
fn replies_come_in_order_and_apart() {
    let script = "format: 1\nagent: [{text: one}, {text: two}]\nsubagent: [{text: ein}]\n";
    let (_folder, model) = open(script).unwrap();
    assert_eq!(say(&model, Purpose::MetaAgent, "a").as_deref(), Ok("one"));
    assert_eq!(say(&model, Purpose::Subagent, "b").as_deref(), Ok("ein"));
    assert_eq!(say(&model, Purpose::MetaAgent, "c").as_deref(), Ok("two"));
    assert_eq!(
        say(&model, Purpose::MetaAgent, "the\nlast"),
        Err("no reply of `agent` is left; the last message is: the last Go on.".to_owned())
    );
}

#[test]
fn conditions_choose_and_expectations_check() {
    let script = "
format: 1
agent:
  - {when: {contains: [red, 'on']}, text: first}
  - {when: {not_contains: green}, repeat: true, text: again}
  - {expect: [green, blue], text: last}
";
    let (_folder, model) = open(script).unwrap();
    let check = |asked: &str, expected: Result<&str, &str>| {
        let said = say(&model, Purpose::MetaAgent, asked);
        assert_eq!(said.as_deref().map_err(String::as_str), expected, "{asked}");
    };
    check("yellow", Ok("again"));
    check("red", Ok("first"));
    check("red", Ok("again"));
    check(
        "green",
        Err("the reply at line 6 expects `blue`; the last message is: green Go on."),
    );
    check("green and blue", Ok("last"));
    check(
        "green and blue",
        Err(
            "the one reply of `agent` that is left does not fit; the last message is: \
             green and blue Go on.",
        ),
    );
}

#[test]
fn files_stand_for_their_text_at_any_depth() {
    let script = "
format: 1
agent:
  - text: {file: code.py}
    calls:
      - tool: t
        arguments:
          a: {file: code.py}
          b: [{c: {file: code.py}}, {file: code.py, mode: x}, {file: 3}]
";
    let (_folder, model) = open(script).unwrap();
    let reply = model
        .answer(&request(Purpose::MetaAgent, ""), &mut |_| ())
        .unwrap();
    let code = "def main(query):\n    return {}\n";
    let [Block::Text { text }, Block::ToolCall { arguments, .. }] = reply.content.as_slice() else {
        panic!("{reply:?}");
    };
    assert_eq!(text, code);
    let expected =
        json!({"a": code, "b": [{"c": code}, {"file": "code.py", "mode": "x"}, {"file": 3}]});
    assert_eq!(
        serde_json::Value::from(arguments.clone().unwrap()),
        expected
    );
}

#[test]
fn tokens_are_given_or_estimated() {
    let script = "
format: 1
agent:
  - {text: 12345678, usage: {input_tokens: 5, output_tokens: 6}}
  - {text: '123456789'}
";
    // A number is not a text.
    assert!(open(script).is_err());
    let (_folder, model) = open(&script.replace("12345678,", "'12345678',")).unwrap();
    let usage = |text: &str| {
        model
            .answer(&request(Purpose::MetaAgent, text), &mut |_| ())
            .unwrap()
            .usage
    };
    let counts = |input_tokens, output_tokens| TokenUsage {
        input_tokens,
        output_tokens,
        cached_tokens: 0,
    };
    assert_eq!(usage(""), counts(5, 6));
    // `System.`, the text, `Go on.`: 7 + 4 + 6 characters.
    assert_eq!(usage("1234"), counts(5, 3));
}

#[test]
fn mistakes_are_told_with_their_place() {
    let check = |script: &str, place: &str, what: &str| {
        let why = open(script).map(|_| ()).unwrap_err();
        assert!(why.starts_with(place), "{script}\n{why}");
        assert!(why.contains(what), "{script}\n{why}");
    };
    check("agent: []\n", "script.yaml:1:", "format");
    check("", "script.yaml:", "");
    check(
        "format: 2\nnew: 1\n",
        "script.yaml: format 2",
        "only format 1",
    );
    check("format: 1\nagents: []\n", "script.yaml:2:1: ", "agents");
    check(
        "format: 1\nagent:\n  - text: a\n    wen: {contains: b}\n",
        "script.yaml:4:5: ",
        "wen",
    );
    check(
        "format: 1\nagent:\n  - text: a\n    when:\n      contain: b\n",
        "script.yaml:5:7: ",
        "contain",
    );
    check(
        "format: 1\nsubagent:\n  - text: a\n    calls: []\n",
        "script.yaml:4:5: ",
        "calls",
    );
    check(
        "format: 1\nagent:\n  - repeat: true\n",
        "script.yaml:3: ",
        "neither",
    );
    check(
        "format: 1\nagent:\n  - text: 7\n",
        "script.yaml:3:",
        "in quotes",
    );
    check(
        "format: 1\nagent:\n  - {text: a, expect: 404}\n",
        "script.yaml:3:",
        "in quotes",
    );
    check(
        "format: 1\nagent:\n  - text: {fil: x}\n",
        "script.yaml:3:",
        "fil",
    );
    check(
        "format: 1\nagent:\n  - text: {file: none.txt}\n",
        "script.yaml:3: cannot read none.txt",
        "No such file",
    );
    check(
        "format: 1\nagent:\n  - text: {file: .}\n",
        "script.yaml:3: cannot read",
        "not a file",
    );
    check(
        "format: 1\nagent:\n  - text: {file: latin1.txt}\n",
        "script.yaml:3: cannot read latin1.txt",
        "UTF-8",
    );
    check("format: 1\nagent: [\n", "script.yaml:", "");
    let missing = ScriptedModel::open(&PathBuf::from("/nonexistent/script.yaml")).unwrap_err();
    assert!(
        missing
            .to_string()
            .contains("cannot read /nonexistent/script.yaml"),
        "{missing}"
    );
}
