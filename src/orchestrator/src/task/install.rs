//! Install: drafts are made, and become versions when the task accepts them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use store::{Move, Publication};

use super::arguments::{CreateSubagent, Finish, FinishStatus, name, path};
use super::drafts::{Draft, granted};
use super::skills::{Answer, Refusal};
use super::{Saved, Session, TaskStatus, composition, requirements};
use crate::python;

/// What is better said before a run is spent on it: what the compiler is going to say, and what
/// will not be there.
pub(super) fn notes(draft: &Draft) -> String {
    let mut notes = String::new();
    let left_out = draft.left_out();
    if !left_out.is_empty() {
        let _ = write!(
            notes,
            "\nleft out, because the entry file does not import it: {}",
            left_out.join(", ")
        );
    }
    for (path, content) in draft
        .files
        .iter()
        .filter(|(path, _)| path.as_bytes().ends_with(b".py"))
    {
        if let Some(error) = std::str::from_utf8(content)
            .ok()
            .and_then(python::syntax_error)
        {
            let _ = write!(
                notes,
                "\nsyntax error in {path}, line {}: {}",
                error.line, error.message
            );
        }
    }
    notes
}

impl Session<'_> {
    pub(super) async fn create(&mut self, given: CreateSubagent) -> Result<Answer, Refusal> {
        let name = name(&given.name)?;
        let mut files = BTreeMap::new();
        for file in given.files {
            if files
                .insert(path(&file.path)?, file.code.into_bytes())
                .is_some()
            {
                return Err(format!(
                    "the file `{}` is given twice",
                    spec::printable(&file.path, 80)
                )
                .into());
            }
        }
        let own_file = format!("{}.py", name.as_str().replace('-', "_"));
        let entry = match (&given.entry, &given.code, files.len()) {
            (Some(entry), _, _) => path(entry)?,
            (None, Some(_), _) => path(&own_file)?,
            (None, None, 1) => files.keys().next().cloned().unwrap_or(path(&own_file)?),
            (None, None, 0) => return Err("give `code`, or `files`".to_owned().into()),
            (None, None, _) => return Err("name the `entry` file".to_owned().into()),
        };
        if let Some(code) = given.code
            && files.insert(entry.clone(), code.into_bytes()).is_some()
        {
            return Err(format!("`code` and `files` both give `{entry}`").into());
        }
        let skills = self.grants(&given.skills)?;
        let egress = self.hosts(&given.egress)?;
        // One that exists is superseded, with its history, when this one is saved.
        let parent = self.factory.head(&name)?;
        let mut draft = Draft::new(
            name.clone(),
            given.description,
            files,
            entry,
            skills,
            parent,
        )?;
        draft.egress = egress;
        draft.limits = self.asked(&given.limits)?;
        draft.depends = self.depends(&given.depends)?;
        let prepared = self.requirements(&given.requirements, &draft.depends);
        draft.require(prepared.await?);
        self.check_composition(&draft)?;
        let mut content = format!(
            "created `{name}` (entry {}, {}); run it with run_subagent",
            draft.entry,
            granted(&draft.skills, &draft.egress)
        );
        content.push_str(&composition::said(&draft));
        content.push_str(&requirements::said(&draft.requirements));
        if parent.is_some() {
            content
                .push_str("\nnote: a saved subagent has this name; saving this one supersedes it");
        }
        content.push_str(&notes(&draft));
        self.drafts.insert(name.clone(), draft);
        self.expect_draft(&name);
        Ok(Answer {
            content,
            subject: name.to_string(),
            ..Answer::default()
        })
    }

    pub(super) fn finish(&mut self, given: Finish) -> Result<Answer, Refusal> {
        if given.status == FinishStatus::Failure {
            if !given.save.is_empty() {
                return Err("a failed task accepted nothing: leave `save` empty"
                    .to_owned()
                    .into());
            }
            return Ok(Answer {
                content: "finished".to_owned(),
                end: Some((TaskStatus::Failure, given.answer)),
                ..Answer::default()
            });
        }
        let mut accepted = Vec::new();
        let mut refused = Vec::new();
        for item in given.save {
            let name = name(&item.name)?;
            if accepted
                .iter()
                .any(|(draft, _): &(Draft, String)| draft.name == name)
            {
                return Err(format!("`save` names `{name}` twice").into());
            }
            match self.drafts.get_mut(&name) {
                None if self.factory.head(&name)?.is_some() => {} // Reused unchanged: it is saved already.
                None => refused.push(self.unknown(name.as_str())?),
                Some(draft) if !draft.is_proven => refused.push(format!(
                    "`{name}` cannot be saved: its last run, in its present form, did not complete"
                )),
                Some(draft) => {
                    if let Some(description) = item.description {
                        draft.description = description;
                    }
                    accepted.push((draft.clone(), item.note.unwrap_or_default()));
                }
            }
        }
        if !refused.is_empty() {
            return Err(refused.join("\n").into());
        }
        self.saved = self.promote(&accepted)?;
        let mut content = "finished".to_owned();
        for saved in &self.saved {
            let version = saved.version.short();
            let _ = if saved.head_moved {
                write!(content, "\nsaved {} as {version}", saved.name)
            } else {
                write!(
                    content,
                    "\nkept {version} as {}:{}: the head of {} moved meanwhile or is pinned",
                    saved.name,
                    self.tag(),
                    saved.name
                )
            };
        }
        Ok(Answer {
            content,
            end: Some((TaskStatus::Success, given.answer)),
            ..Answer::default()
        })
    }

    /// Makes versions of drafts and moves their heads, all in one operation.
    ///
    /// Where somebody else published a name meanwhile, or pinned it, that stays its head; ours gets
    /// a tag.
    fn promote(&self, accepted: &[(Draft, String)]) -> Result<Vec<Saved>, Refusal> {
        let store = &self.factory.store;
        let mut saved = Vec::new();
        for (draft, _) in accepted {
            let version = store.stage(&draft.content())?.digest();
            // One that is as it was before is not saved again.
            if draft.parent != Some(version) {
                let name = draft.name.clone();
                saved.push(Saved {
                    name,
                    version,
                    parent: draft.parent,
                    head_moved: true,
                });
            }
        }
        for _ in 0..PUBLISH_ATTEMPTS {
            let publication = self.publication(accepted, &mut saved)?;
            if publication.moves.is_empty() {
                break;
            }
            match store.publish(publication) {
                Ok(_) => break,
                // Another head moved since it was looked at: look again.
                Err(error) if error.kind() == store::StoreErrorKind::Conflict => {}
                // So was one pinned: ours gets a tag.
                Err(store::StoreError::Pinned { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        for one in saved.iter().filter(|one| !one.head_moved) {
            store.tag(&one.name, &self.tag(), &one.version, self.factory.now())?;
        }
        Ok(saved)
    }

    /// What keeps a version of this task that is no head.
    fn tag(&self) -> String {
        format!("task-{}", self.id)
    }

    /// The moves that are still possible; the others are marked.
    fn publication(
        &self,
        accepted: &[(Draft, String)],
        saved: &mut [Saved],
    ) -> Result<Publication, Refusal> {
        let mut publication = Publication {
            moves: Vec::new(),
            at: self.factory.now(),
            task: Some(self.id.to_string()),
            evidence: Vec::new(),
            note: String::new(),
        };
        for one in saved {
            let found = self.factory.store.head(&one.name)?;
            let head = found.as_ref().map(|head| head.digest);
            if head == Some(one.version) {
                one.head_moved = true; // Somebody else made the very same.
                continue;
            }
            let is_pinned = found.is_some_and(|head| head.is_pinned);
            one.head_moved = head == one.parent && !is_pinned;
            if !one.head_moved {
                tracing::warn!(name = %one.name, is_pinned, "its head stays: ours gets a tag");
                continue;
            }
            publication.moves.push(Move {
                name: one.name.clone(),
                from: one.parent,
                to: one.version,
            });
            for (draft, note) in accepted.iter().filter(|(draft, _)| draft.name == one.name) {
                publication.evidence.extend(&draft.completed);
                if !note.is_empty() {
                    let line = if publication.note.is_empty() {
                        ""
                    } else {
                        "\n"
                    };
                    let _ = write!(publication.note, "{line}{}: {note}", draft.name);
                }
            }
        }
        Ok(publication)
    }
}

/// How often heads may move between a look and a publication.
const PUBLISH_ATTEMPTS: u32 = 5;
