//! A task end to end over the real wire protocols: create, fail, repair, run, finish.

use serde_json::{Value, json};
use testkit::{EndpointProtocol, EndpointReply, Finished, ModelEndpoint, Said, TestEnv};

const BROKEN: &str = "import json\n\ndef main(query):\n    data = json.load(open('numbers.json'))\n    return {'answer': data['total'], 'summary': 'added'}\n";

/// The replies of a model that writes a subagent, reads its traceback, repairs and saves it.
fn replies() -> Vec<EndpointReply> {
    let create = json!({"name": "adder", "description": "Adds the numbers of a JSON file.", "code": BROKEN, "skills": ["llm"]});
    let modify = json!({"name": "adder", "old": "data['total']", "new": "str(sum(data))"});
    let run = json!({"name": "adder", "query": "numbers.json"});
    let finish =
        json!({"answer": "The sum is 6.", "save": [{"name": "adder", "note": "installed"}]});
    vec![
        Said::text("I write a subagent.")
            .call("create_subagent", &create)
            .usage(1_000, 200)
            .into(),
        EndpointReply::call("run_subagent", &run),
        Said::default()
            .call("modify_subagent", &modify)
            .call("run_subagent", &run)
            .into(),
        EndpointReply::call("finish", &finish),
    ]
}

/// The whole conversation of the last request, as text.
fn conversation(endpoint: &ModelEndpoint) -> String {
    endpoint.received().last().unwrap().body.to_string()
}

struct Case {
    env: TestEnv,
    endpoint: ModelEndpoint,
    model: &'static str,
}

impl Case {
    fn new(
        protocol: EndpointProtocol,
        configure: impl FnOnce(testkit::EndpointOptions) -> testkit::EndpointOptions,
    ) -> Option<Self> {
        let env = TestEnv::with_engine()?;
        let endpoint = configure(ModelEndpoint::of(protocol).key("test-key")).start();
        let (model, key, url) = match protocol {
            EndpointProtocol::Anthropic => (
                "anthropic:claude-test",
                "ANTHROPIC_API_KEY",
                "ANTHROPIC_BASE_URL",
            ),
            EndpointProtocol::OpenAi => ("openai:gpt-test", "OPENAI_API_KEY", "OPENAI_BASE_URL"),
        };
        let env = env.set(key, "test-key").set(url, endpoint.url());
        env.write("in/numbers.json", "[1, 2, 3]");
        Some(Self {
            env,
            endpoint,
            model,
        })
    }

    fn solve(&self) -> Finished {
        let input = self.env.scratch().join("in");
        self.env.agentfactory([
            "solve",
            "Add the numbers.",
            "--model",
            self.model,
            "--input",
            input.to_str().unwrap(),
            "--json",
        ])
    }

    /// Solves, and checks what was asked and saved.
    fn check(&self) -> Value {
        let json = self.solve().expect_status(0).json();
        assert_eq!(json["status"], "success", "{json:#}");
        assert_eq!(json["answer"], "The sum is 6.");
        assert_eq!(json["saved"][0]["name"], "adder");
        assert_eq!(json["turns"], 4);
        let said = conversation(&self.endpoint);
        assert!(
            said.contains("TypeError") && said.contains("data['total']"),
            "the traceback reached the model: {said}"
        );
        let run = self.env.agentfactory([
            "run",
            "adder",
            "x",
            "--input",
            self.env.scratch().join("in").to_str().unwrap(),
        ]);
        assert_eq!(run.expect_status(0).stdout, "6\n");
        let secret = walk_contains(self.env.home(), b"test-key");
        assert!(secret.is_empty(), "the key is in {secret:?}");
        json
    }
}

/// The files below a folder that contain some bytes.
fn walk_contains(folder: &std::path::Path, needle: &[u8]) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for item in std::fs::read_dir(folder).unwrap() {
        let path = item.unwrap().path();
        if path.is_dir() {
            found.extend(walk_contains(&path, needle));
        } else if std::fs::read(&path)
            .unwrap()
            .windows(needle.len())
            .any(|window| window == needle)
        {
            found.push(path);
        }
    }
    found
}

const PROTOCOLS: [EndpointProtocol; 2] = [EndpointProtocol::Anthropic, EndpointProtocol::OpenAi];

#[test]
fn a_model_over_its_protocol_creates_repairs_and_saves_a_subagent() {
    for protocol in PROTOCOLS {
        let Some(case) = Case::new(protocol, |options| options.replies(replies())) else {
            return;
        };
        let json = case.check();
        assert_eq!(json["tokens"]["agent"]["input"], 1_000 + 3 * 25);
        assert_eq!(json["tokens"]["agent"]["output"], 200 + 3 * 15);
    }
}

#[test]
fn a_stream_in_single_bytes_is_the_same() {
    for protocol in PROTOCOLS {
        let Some(case) = Case::new(protocol, |options| {
            options.replies(replies()).single_bytes()
        }) else {
            return;
        };
        case.check();
    }
}

#[test]
fn a_stream_that_is_cut_off_is_asked_for_again() {
    for protocol in PROTOCOLS {
        let cut = Said::text("I write a sub").call("create_subagent", &json!({"name": "half"}));
        let with_cut = std::iter::once(EndpointReply::CutOff(cut)).chain(replies());
        let Some(case) = Case::new(protocol, |options| options.replies(with_cut)) else {
            return;
        };
        case.check();
    }
}

#[test]
fn an_overloaded_endpoint_is_asked_again() {
    for protocol in PROTOCOLS {
        let first = [
            EndpointReply::status(529, "overloaded"),
            EndpointReply::rate_limited("0"),
        ];
        let Some(case) = Case::new(protocol, |options| {
            options.replies(first.into_iter().chain(replies()))
        }) else {
            return;
        };
        case.check();
    }
}

#[test]
fn an_endpoint_that_does_not_answer_properly_is_said_with_what_to_do() {
    for (reply, status, said) in [
        (EndpointReply::html(), 5, "not its protocol"),
        (EndpointReply::garbage(), 5, "not its protocol"),
        (
            EndpointReply::status(404, "model: no such model"),
            5,
            "no such model",
        ),
    ] {
        let Some(case) = Case::new(EndpointProtocol::Anthropic, |options| {
            options.replies([reply])
        }) else {
            return;
        };
        let finished = case.solve();
        assert_eq!(finished.status, status, "{}", finished.stderr);
        assert!(
            finished.stderr.contains(said),
            "{said}: {}",
            finished.stderr
        );
        assert!(finished.stderr.contains("hint:"), "{}", finished.stderr);
    }
}

#[test]
fn a_wrong_key_is_said_without_showing_it() {
    let Some(case) = Case::new(EndpointProtocol::Anthropic, |options| {
        options.key("another")
    }) else {
        return;
    };
    let finished = case.solve().expect_status(5);
    assert!(
        finished.stderr.contains("refused the key")
            && finished.stderr.contains("ANTHROPIC_API_KEY"),
        "{}",
        finished.stderr
    );
    assert!(!finished.stderr.contains("test-key"), "{}", finished.stderr);
}

#[test]
fn wrong_tool_calls_are_answered_and_the_model_goes_on() {
    let wrong = [
        Said::default()
            .call_with_text("create_subagent", "{\"name\": ")
            .into(),
        EndpointReply::call("no_such_tool", &json!({})),
        EndpointReply::call("run_subagent", &json!({"name": 7})),
        Said::text("Let me think.").into(),
    ];
    let Some(case) = Case::new(EndpointProtocol::OpenAi, |options| {
        options.replies(wrong.into_iter().chain(replies()))
    }) else {
        return;
    };
    let json = case.solve().expect_status(0).json();
    assert_eq!(
        (&json["status"], &json["turns"]),
        (&json!("success"), &json!(8))
    );
    let said = conversation(&case.endpoint);
    for expected in [
        "not a JSON object",
        "there is no tool",
        "do not fit",
        "called no tool",
    ] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
}

#[test]
fn a_subagent_asks_the_model_through_the_host() {
    let code = "from llm import call_llm\n\ndef main(query):\n    return {'answer': call_llm('Be brief.', [{'role': 'user', 'content': 'Say ' + query}], max_tokens=50)}\n";
    let create = json!({"name": "asker", "description": "Asks.", "code": code, "skills": ["llm"]});
    let replies = [
        Said::default()
            .call("create_subagent", &create)
            .call("run_subagent", &json!({"name": "asker", "query": "hello"}))
            .into(),
        Said::text("HELLO").usage(7, 2).into(),
        EndpointReply::call(
            "finish",
            &json!({"answer": "done", "save": [{"name": "asker"}]}),
        ),
    ];
    let Some(case) = Case::new(EndpointProtocol::Anthropic, |options| {
        options.replies(replies)
    }) else {
        return;
    };
    let json = case.solve().expect_status(0).json();
    assert_eq!(
        (
            &json["tokens"]["subagents"]["input"],
            &json["tokens"]["subagents"]["output"]
        ),
        (&json!(7), &json!(2))
    );
    let asked = &case.endpoint.received()[1].body;
    assert_eq!(
        (
            &asked["max_tokens"],
            asked.to_string().contains("Say hello")
        ),
        (&json!(50), true),
        "{asked}"
    );
    assert!(
        asked["tools"].as_array().is_none_or(Vec::is_empty),
        "a subagent gets no meta skills"
    );
}

#[test]
fn a_task_can_create_and_save_several_subagents() {
    let create = |name: &str| {
        json!({"name": name, "description": "Writes.", "skills": [],
        "code": format!("def main(query):\n    open('{name}.txt', 'a').write(query)\n    return {{'answer': query}}\n")})
    };
    let run = |name: &str, query: &str| json!({"name": name, "query": query});
    let replies = [Said::default()
        .call("create_subagent", &create("one"))
        .call("create_subagent", &create("two"))
        .call("run_subagent", &run("one", "a"))
        .call("run_subagent", &run("two", "b"))
        .call("run_subagent", &run("one", "c"))
        .call(
            "finish",
            &json!({"answer": "both", "save": [{"name": "one"}, {"name": "two"}]}),
        )
        .into()];
    let Some(case) = Case::new(EndpointProtocol::Anthropic, |options| {
        options.replies(replies)
    }) else {
        return;
    };
    let folder = case.env.scratch().join("in");
    let arguments = [
        "solve",
        "Write.",
        "--model",
        case.model,
        "--workspace",
        folder.to_str().unwrap(),
        "--json",
    ];
    let json = case.env.agentfactory(arguments).expect_status(0).json();
    assert_eq!(json["saved"].as_array().unwrap().len(), 2);
    assert_eq!(
        std::fs::read_to_string(folder.join("one.txt")).unwrap(),
        "ac",
        "runs of a task share its workspace"
    );
    assert_eq!(
        std::fs::read_to_string(folder.join("two.txt")).unwrap(),
        "b"
    );
}

#[test]
fn a_batch_goes_on_after_a_bad_line_and_a_failed_task() {
    let reply = |answer: &str, status: &str| {
        EndpointReply::call(
            "finish",
            &json!({"answer": answer, "save": [], "status": status}),
        )
    };
    let replies = [
        reply("one", "success"),
        reply("cannot", "failure"),
        reply("three", "success"),
    ];
    let Some(case) = Case::new(EndpointProtocol::Anthropic, |options| {
        options.replies(replies)
    }) else {
        return;
    };
    let file = case.env.write(
        "questions.jsonl",
        "{\"question\": \"First?\", \"answer\": \"\"}\nnot json\n{\"question\": \"Second?\", \"answer\": 5, \"odd\": [1]}\n\n{\"question\": \"Third?\"}\n",
    );
    let arguments = [
        "solve",
        "--question-file",
        file.to_str().unwrap(),
        "--model",
        case.model,
        "--json",
    ];
    let finished = case.env.agentfactory(arguments).expect_status(1);
    let lines: Vec<Value> = finished
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let answers: Vec<_> = lines
        .iter()
        .filter_map(|line| line["answer"].as_str())
        .collect();
    assert_eq!(answers, ["one", "cannot", "three"], "{}", finished.stdout);
    assert!(finished.stderr.contains("line 2"), "{}", finished.stderr);
}

/// The paper's own questions, where they are at hand beside the checkout.
#[test]
fn the_questions_of_the_paper_are_read() {
    let Some(env) = TestEnv::with_engine() else {
        return;
    };
    let script = env.write(
        "always.yaml",
        "format: 1\nagent:\n  - repeat: true\n    calls:\n      - {tool: finish, arguments: {answer: seen, save: []}}\n",
    );
    let model = format!("scripted:{}", script.display());
    for round in ["questions_round1.jsonl", "questions_round2.jsonl"] {
        let file = testkit::repository()
            .join("../shared/data/paper")
            .join(round);
        let Ok(questions) = std::fs::read_to_string(&file) else {
            eprintln!("SKIPPED: {round} is not at hand");
            return;
        };
        let arguments = [
            "solve",
            "--question-file",
            file.to_str().unwrap(),
            "--model",
            &model,
            "--json",
        ];
        let finished = env.agentfactory(arguments).expect_status(0);
        assert_eq!(
            finished.stdout.lines().count(),
            questions
                .lines()
                .filter(|line| !line.trim().is_empty())
                .count()
        );
    }
}

#[test]
fn the_example_of_the_scripted_models_documentation_solves_a_task() {
    let Some(env) = TestEnv::with_engine() else {
        return;
    };
    let documentation =
        std::fs::read_to_string(testkit::repository().join("src/llm/SCRIPTED.md")).unwrap();
    let example = documentation
        .split("```yaml\n")
        .nth(1)
        .unwrap()
        .split("```")
        .next()
        .unwrap();
    let script = env.write("example.yaml", example);
    env.write(
        "line_counter.py",
        "def main(query):\n    raise ValueError(query)\n",
    );
    env.write(
        "line_counter_2.py",
        "def main(query):\n    return {'answer': f'{len(open(query.split()[1]).readlines())} lines'}\n",
    );
    let notes = env.write("in/notes.txt", "1\n2\n3\n");
    let model = format!("scripted:{}", script.display());
    let input = notes.parent().unwrap().to_str().unwrap();
    let finished = env
        .agentfactory([
            "solve",
            "How many lines?",
            "--model",
            &model,
            "--input",
            input,
        ])
        .expect_status(0);
    assert_eq!(finished.stdout, "The file has 3 lines.\n");
}
