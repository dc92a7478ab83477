//! What was found, and how bad it is.

/// How bad a finding is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Nothing to do.
    Healthy,
    /// Worth knowing.
    #[default]
    Note,
    /// It trains, but worse than it could.
    Warning,
    /// It cannot train like this.
    Critical,
}

impl Severity {
    /// One word: `healthy`, `note`, `warning`, `critical`.
    pub fn word(self) -> &'static str {
        match self {
            Severity::Healthy => "healthy",
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Critical => "critical",
        }
    }
}

/// A verdict with its reasons: what is wrong, where, how it shows, why, and what to change.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// Short name of the rule, such as `vanishing`.
    pub rule: String,
    /// One sentence for people.
    pub message: String,
    /// Layer it is about; none for the whole net.
    pub layer: Option<String>,
    /// The numbers that show it.
    pub evidence: Option<String>,
    /// Why it happens.
    pub cause: Option<String>,
    /// The line of code, as `file:line:column`.
    pub location: Option<String>,
    /// The change that cures it.
    pub remedy: Option<String>,
    /// Updates made before it showed: what is there before the first update (0) is no effect of one.
    pub since: Option<u64>,
}

impl Finding {
    /// A finding about the whole net.
    pub fn new(severity: Severity, rule: impl Into<String>, message: impl Into<String>) -> Finding {
        Finding {
            severity,
            rule: rule.into(),
            message: message.into(),
            ..Finding::default()
        }
    }

    /// Names the layer.
    pub fn at(mut self, layer: impl Into<String>) -> Finding {
        self.layer = Some(layer.into());
        self
    }

    /// Adds the numbers that show it.
    pub fn evidence(mut self, evidence: impl Into<String>) -> Finding {
        self.evidence = Some(evidence.into());
        self
    }

    /// Adds why it happens.
    pub fn cause(mut self, cause: impl Into<String>) -> Finding {
        self.cause = Some(cause.into());
        self
    }

    /// Adds the line of code.
    pub fn location(mut self, location: impl Into<String>) -> Finding {
        self.location = Some(location.into());
        self
    }

    /// Adds the number of updates made before it showed.
    pub fn since(mut self, updates: u64) -> Finding {
        self.since = Some(updates);
        self
    }

    /// Adds the change that cures it.
    pub fn remedy(mut self, remedy: impl Into<String>) -> Finding {
        self.remedy = Some(remedy.into());
        self
    }
}
