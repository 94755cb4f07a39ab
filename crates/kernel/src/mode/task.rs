//! `macp.mode.task.v1`: request, accept or reject, report, commit (RFC-MACP-0009).

use macp_wire::modes::task::v1::{
    TaskAcceptPayload, TaskCompletePayload, TaskFailPayload, TaskRejectPayload, TaskRequestPayload,
    TaskUpdatePayload,
};
use macp_wire::v1::Envelope;

use super::{BuiltIn, Context, Mode, Step, commitment};
use crate::envelope::{core_type, decode_payload};
use crate::policy::evaluate;
use crate::refusal::Refusal;
use crate::session::Binding;

/// The mode's id.
pub const MODE: &str = "macp.mode.task.v1";

pub(super) const BUILT_IN: BuiltIn = BuiltIn {
    mode: MODE,
    title: "Task Mode",
    description: "The initiator requests a task, an assignee takes it on and reports; a Commitment binds the outcome.",
    determinism_class: "structural-only",
    participant_model: "orchestrated",
    between: &["TaskRequest", "TaskAccept", "TaskReject", "TaskUpdate", "TaskComplete", "TaskFail"],
};

/// What is to be done, and by whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// Its id within the session.
    pub task_id: String,
    /// Who is asked; `None` asks every participant but the initiator.
    pub requested_assignee: Option<String>,
}

/// A participant that turned the task down, before it was assigned to it or after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// Who.
    pub assignee: String,
    /// Whether the task was assigned to it then.
    pub while_assigned: bool,
}

/// How the work ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// `TaskComplete`
    Complete {
        /// Whether its `output` is not empty.
        has_output: bool,
    },
    /// `TaskFail`
    Fail,
}

/// State of a task session. Progress updates are history and no state: no rule reads them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assignment {
    /// The one task.
    pub task: Option<Task>,
    /// Who works on it.
    pub active_assignee: Option<String>,
    /// Who turned it down, each once.
    pub rejections: Vec<Rejection>,
    /// The terminal report.
    pub report: Option<Report>,
}

/// What an accepted message changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The task is there.
    Requested(Task),
    /// The sender works on it.
    Assigned(String),
    /// The sender does not, or no longer.
    Rejected(Rejection),
    /// Something was said about progress.
    Updated,
    /// The work ended.
    Reported(Report),
    /// The outcome is bound.
    Committed,
}

impl Mode for Assignment {
    type Change = Change;

    fn start(binding: &Binding) -> Result<Self, Refusal> {
        if binding.participants.iter().all(|participant| *participant == binding.initiator) {
            return Err(Refusal::invalid_envelope(
                "a task session needs a participant other than its initiator",
            ));
        }
        Ok(Self::default())
    }

    fn authorize(&self, binding: &Binding, sender: &str, message_type: &str) -> Result<(), Refusal> {
        match message_type {
            "TaskRequest" => commitment::require_initiator(binding, sender, message_type),
            core_type::COMMITMENT => commitment::authorize(binding, sender),
            _ => commitment::require_participant(binding, sender),
        }
    }

    fn decide(&self, context: &Context<'_>, envelope: &Envelope) -> Result<Step<Change>, Refusal> {
        let binding = context.binding();
        match envelope.message_type.as_str() {
            "TaskRequest" => self.request(binding, envelope),
            "TaskAccept" => self.accept(binding, envelope),
            "TaskReject" => self.reject(binding, envelope),
            "TaskUpdate" => self.update(envelope),
            "TaskComplete" => self.complete(envelope),
            "TaskFail" => self.fail(envelope),
            core_type::COMMITMENT => self.commit(binding, envelope),
            other => Err(BUILT_IN.unknown_type(other)),
        }
    }

    fn apply(&mut self, change: &Change) {
        match change {
            Change::Requested(task) => self.task = Some(task.clone()),
            Change::Assigned(sender) => self.active_assignee = Some(sender.clone()),
            Change::Rejected(rejection) => {
                if rejection.while_assigned {
                    self.active_assignee = None;
                }
                self.rejections.push(rejection.clone());
            }
            Change::Reported(report) => self.report = Some(*report),
            Change::Updated | Change::Committed => {}
        }
    }
}

impl Assignment {
    fn request(&self, binding: &Binding, envelope: &Envelope) -> Result<Step<Change>, Refusal> {
        let payload: TaskRequestPayload = decode_payload(envelope)?;
        if self.task.is_some() {
            return Err(Refusal::invalid_envelope("the session has its task already"));
        }
        if payload.task_id.is_empty() {
            return Err(Refusal::invalid_envelope("TaskRequestPayload.task_id is empty"));
        }
        let requested_assignee = Some(payload.requested_assignee).filter(|requested| !requested.is_empty());
        if requested_assignee.as_ref().is_some_and(|requested| !binding.is_participant(requested)) {
            return Err(Refusal::invalid_envelope(
                "TaskRequestPayload.requested_assignee must be empty or a declared participant",
            ));
        }
        Ok(Step::to(Change::Requested(Task { task_id: payload.task_id, requested_assignee })))
    }

    fn accept(&self, binding: &Binding, envelope: &Envelope) -> Result<Step<Change>, Refusal> {
        let payload: TaskAcceptPayload = decode_payload(envelope)?;
        let sender = &envelope.sender;
        let task = self.require_task(&payload.task_id)?;
        if self.active_assignee.is_some() {
            return Err(Refusal::invalid_envelope("the task is assigned already"));
        }
        self.require_not_declined(sender)?;
        if self.rejections.iter().any(|rejection| rejection.while_assigned) {
            evaluate::reassignment(binding)?;
        }
        require_own_assignee(&payload.assignee, sender)?;
        require_eligible(task, binding, sender)?;
        Ok(Step::to(Change::Assigned(sender.clone())))
    }

    fn reject(&self, binding: &Binding, envelope: &Envelope) -> Result<Step<Change>, Refusal> {
        let payload: TaskRejectPayload = decode_payload(envelope)?;
        let sender = &envelope.sender;
        let task = self.require_task(&payload.task_id)?;
        match &self.active_assignee {
            Some(assignee) if assignee == sender => evaluate::reassignment(binding)?,
            Some(_) => return Err(Refusal::invalid_envelope("the task is assigned to someone else")),
            None => {}
        }
        require_own_assignee(&payload.assignee, sender)?;
        if self.active_assignee.is_none() {
            require_eligible(task, binding, sender)?;
        }
        self.require_not_declined(sender)?;
        let while_assigned = self.active_assignee.is_some();
        Ok(Step::to(Change::Rejected(Rejection { assignee: sender.clone(), while_assigned })))
    }

    fn update(&self, envelope: &Envelope) -> Result<Step<Change>, Refusal> {
        let payload: TaskUpdatePayload = decode_payload(envelope)?;
        self.require_task(&payload.task_id)?;
        self.require_at_work(&envelope.sender)?;
        Ok(Step::to(Change::Updated))
    }

    fn complete(&self, envelope: &Envelope) -> Result<Step<Change>, Refusal> {
        let payload: TaskCompletePayload = decode_payload(envelope)?;
        let has_output = !payload.output.is_empty();
        self.report(envelope, &payload.task_id, &payload.assignee, Report::Complete { has_output })
    }

    fn fail(&self, envelope: &Envelope) -> Result<Step<Change>, Refusal> {
        let payload: TaskFailPayload = decode_payload(envelope)?;
        self.report(envelope, &payload.task_id, &payload.assignee, Report::Fail)
    }

    fn report(
        &self,
        envelope: &Envelope,
        task_id: &str,
        assignee: &str,
        report: Report,
    ) -> Result<Step<Change>, Refusal> {
        self.require_task(task_id)?;
        self.require_at_work(&envelope.sender)?;
        require_own_assignee(assignee, &envelope.sender)?;
        Ok(Step::to(Change::Reported(report)))
    }

    fn commit(&self, binding: &Binding, envelope: &Envelope) -> Result<Step<Change>, Refusal> {
        let payload = commitment::check(binding, envelope)?;
        let eligible = self.report.is_some() || (!payload.outcome_positive && self.is_declined());
        if !eligible {
            return Err(Refusal::invalid_envelope(
                "the task has no terminal report, and it is not a named task that its assignee declined",
            ));
        }
        let has_output = self.report == Some(Report::Complete { has_output: true });
        evaluate::task(binding, has_output, payload.outcome_positive)?;
        Ok(Step { change: Change::Committed, resolution: Some(envelope.payload.clone()) })
    }

    /// Rule 2a: the only one who was asked declined before it was assigned. Nobody else can take the task on, so
    /// the decline is an outcome. A task open to all has no such end, even when all declined.
    fn is_declined(&self) -> bool {
        let Some(requested) = self.task.as_ref().and_then(|task| task.requested_assignee.as_ref()) else {
            return false;
        };
        self.active_assignee.is_none()
            && self
                .rejections
                .iter()
                .any(|rejection| rejection.assignee == *requested && !rejection.while_assigned)
    }

    fn require_task(&self, task_id: &str) -> Result<&Task, Refusal> {
        match &self.task {
            None => Err(Refusal::invalid_envelope("no task was requested yet")),
            Some(task) if task.task_id == task_id => Ok(task),
            Some(_) => Err(Refusal::invalid_envelope("task_id is not the id of this session's task")),
        }
    }

    /// Rule 2a: who turned the task down is out of it for the session.
    fn require_not_declined(&self, sender: &str) -> Result<(), Refusal> {
        if self.rejections.iter().any(|rejection| rejection.assignee == sender) {
            return Err(Refusal::invalid_envelope("this sender has already rejected the task"));
        }
        Ok(())
    }

    fn require_at_work(&self, sender: &str) -> Result<(), Refusal> {
        if self.report.is_none() && self.active_assignee.as_deref() == Some(sender) {
            return Ok(());
        }
        Err(Refusal::forbidden("only the assignee may do this, and only until it has reported"))
    }
}

fn require_own_assignee(assignee: &str, sender: &str) -> Result<(), Refusal> {
    if assignee.is_empty() || assignee == sender {
        return Ok(());
    }
    Err(Refusal::invalid_envelope("assignee must be empty or the sender"))
}

fn require_eligible(task: &Task, binding: &Binding, sender: &str) -> Result<(), Refusal> {
    let eligible = match &task.requested_assignee {
        Some(requested) => requested == sender,
        None => binding.is_participant(sender) && binding.initiator.as_str() != sender,
    };
    if eligible {
        return Ok(());
    }
    Err(Refusal::forbidden("the task was not offered to this sender"))
}
