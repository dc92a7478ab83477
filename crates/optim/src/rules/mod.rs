//! The update rules, one family per file.

mod adafactor;
mod adagrad;
mod adam;
mod averaging;
mod belief;
mod layerwise;
mod muon;
mod prodigy;
mod sgd;
mod sign;
mod soap;
mod sophia;

pub use adafactor::{Adafactor, AdafactorRule};
pub use adagrad::{Adadelta, AdadeltaRule, Adagrad, AdagradRule, RmsProp, RmsPropRule};
pub use adam::{
    Adam, AdamRule, AdamW, AdamWRule, Adamax, AdamaxRule, NAdam, NAdamRule, RAdam, RAdamRule,
};
pub use averaging::{
    Asgd, AsgdRule, ScheduleFreeAdamW, ScheduleFreeAdamWRule, ScheduleFreeSgd, ScheduleFreeSgdRule,
};
pub use belief::{AdaBelief, AdaBeliefRule, Adan, AdanRule, Yogi, YogiRule};
pub use layerwise::{Lamb, LambRule, Lars, LarsRule, NovoGrad, NovoGradRule};
pub use muon::{Muon, MuonRule, MuonScale};
pub use prodigy::{Prodigy, ProdigyRule};
pub use sgd::{Sgd, SgdRule};
pub use sign::{Lion, LionRule, Rprop, RpropRule, SignSgd, SignSgdRule};
pub use soap::{Soap, SoapRule};
pub use sophia::{Sophia, SophiaRule};
