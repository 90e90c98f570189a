//! The policy for `shell_command`: what the host decides before the sandbox executes.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use futures::future::BoxFuture;
use guard::{Context, Decision, Verdict, judge};
use serde_json::{Value, json};

/// What follows from the guard's verdict on a subagent's shell command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ShellMode {
    /// What it refuses is refused, and so is what it cannot tell.
    #[default]
    Enforce,
    /// What it refuses is refused; about what it cannot tell a person is asked, and without one it
    /// is refused.
    Ask,
    /// Everything is carried out; the verdict is recorded.
    Audit,
}

impl ShellMode {
    /// The word for it in the configuration: `enforce`, `ask` or `audit`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Ask => "ask",
            Self::Audit => "audit",
        }
    }
}

impl fmt::Display for ShellMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ShellMode {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Enforce, Self::Ask, Self::Audit]
            .into_iter()
            .find(|mode| mode.as_str() == text)
            .ok_or("the policy is `enforce`, `ask` or `audit`")
    }
}

/// Somebody who can be asked about a command.
pub trait Approver: fmt::Debug + Send + Sync {
    /// Whether a command may be carried out about which the guard cannot tell. The run's time goes
    /// on meanwhile.
    fn approves<'a>(&'a self, command: &'a str, verdict: &'a Verdict) -> BoxFuture<'a, bool>;
}

/// What becomes of a subagent's shell commands. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct ShellPolicy {
    /// What follows from a verdict.
    pub mode: ShellMode,
    /// Who is asked, when somebody is there.
    pub approver: Option<Arc<dyn Approver>>,
}

impl ShellPolicy {
    /// The answer to a request to execute a command; the verdict is in it, so that it is recorded.
    pub(crate) async fn answer(&self, command: String) -> Value {
        let judged = tokio::task::spawn_blocking(move || {
            let verdict = judge(&command, &Context::sandbox());
            (command, verdict)
        });
        let Ok((command, verdict)) = judged.await else {
            return json!({ "error": "refused: the command could not be judged" });
        };
        let decision = verdict.decision;
        let execute = json!({ "execute": true, "decision": decision, "reason": verdict.reason });
        let refuse = |why: &str| json!({ "error": format!("refused: {why}"), "decision": decision, "reason": verdict.reason });
        match (self.mode, decision) {
            (ShellMode::Audit, _) | (_, Decision::Allow) => execute,
            (ShellMode::Enforce | ShellMode::Ask, Decision::Refuse)
            | (ShellMode::Enforce, Decision::Ask) => refuse(&verdict.reason),
            (ShellMode::Ask, Decision::Ask) => {
                let Some(approver) = &self.approver else {
                    return refuse(&format!("{}; there is nobody to ask", verdict.reason));
                };
                let mut answer = if approver.approves(&command, &verdict).await {
                    execute
                } else {
                    refuse(&format!(
                        "{}; the person who was asked said no",
                        verdict.reason
                    ))
                };
                answer["asked"] = json!(true);
                answer
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Says(bool);

    impl Approver for Says {
        fn approves<'a>(&'a self, _: &'a str, _: &'a Verdict) -> BoxFuture<'a, bool> {
            Box::pin(async { self.0 })
        }
    }

    async fn executes(mode: ShellMode, person: Option<bool>, command: &str) -> bool {
        let policy = ShellPolicy {
            mode,
            approver: person.map(|says| Arc::new(Says(says)) as _),
        };
        let answer = policy.answer(command.to_owned()).await;
        assert!(answer["decision"].is_string(), "{answer}");
        assert_eq!(
            answer["error"].is_null(),
            answer["execute"] == true,
            "{answer}"
        );
        answer["execute"] == true
    }

    #[tokio::test]
    async fn each_mode_decides_as_it_says() {
        let (allow, ask, refuse) = ("rm -rf build", "rm -rf \"$X\"", "rm -rf /etc");
        for (mode, person, expected) in [
            (ShellMode::Enforce, Some(true), [true, false, false]),
            (ShellMode::Ask, None, [true, false, false]),
            (ShellMode::Ask, Some(false), [true, false, false]),
            (ShellMode::Ask, Some(true), [true, true, false]),
            (ShellMode::Audit, None, [true, true, true]),
        ] {
            for (command, expected) in [allow, ask, refuse].into_iter().zip(expected) {
                let executed = executes(mode, person, command).await;
                assert_eq!(executed, expected, "{mode}, {person:?}: {command}");
            }
        }
    }

    #[tokio::test]
    async fn a_refusal_says_why() {
        let answer = ShellPolicy::default()
            .answer("rm -rf /etc".to_owned())
            .await;
        let error = "refused: `rm -rf /etc` removes /etc, which is outside the workspace";
        assert_eq!(answer["error"], error);
        assert_eq!(answer["decision"], "refuse");
    }
}
