package federated

// Event is what a server is told. The set is closed.
type Event interface{ event() }

type (
	// Tick says what time it is. Instants that lie before the state's are ignored.
	Tick struct{ Now Instant }
	// Resumed says that the server was restarted from this state. What it had asked
	// of the world may or may not have happened.
	Resumed struct{ Now Instant }
	// Join says that a client can be asked. Weight is for weighted selection.
	Join struct {
		Client ClientID
		Weight float64
	}
	// Leave says that a client cannot be asked any more.
	Leave struct{ Client ClientID }
	// Drawn answers Draw. Buckets, if not nil, holds the bucket of each client.
	Drawn struct {
		Round, Attempt int
		Clients        []ClientID
		Buckets        []int
	}
	// Report says that a client sent an update, which is kept under its digest, or for
	// a secure sum that it has one.
	Report struct {
		Client         ClientID
		Round, Attempt int
		Weight         float64
		Update         Digest
	}
	// Malformed says that a client sent what cannot be an update.
	Malformed struct {
		Client         ClientID
		Round, Attempt int
		Reason         string
	}
	// Failure says that a client cannot do what it was asked.
	Failure struct {
		Client         ClientID
		Round, Attempt int
		Reason         string
	}
	// Summed answers Sum. Survivors are the clients that the sum is of, Faults those whose
	// messages no honest client sends.
	Summed struct {
		Round, Attempt, Bucket int
		Sum                    Digest
		Survivors              []ClientID
		Faults                 []Fault
	}
	// SumFailed answers Sum. Unseen says that nothing was unmasked, for certain.
	SumFailed struct {
		Round, Attempt, Bucket int
		Unseen                 bool
		Reason                 string
		Faults                 []Fault
	}
	// Spent answers Spend: the ledger holds the round's event.
	Spent struct{ Round int }
	// Overspent answers Spend: the ledger refuses.
	Overspent struct {
		Round  int
		Reason string
	}
	// Combined answers Combine. Refused are clients whose updates the rule refused.
	Combined struct {
		Round, Attempt int
		Candidate      Digest
		Refused        []ClientID
	}
	// CombineFailed answers Combine.
	CombineFailed struct {
		Round, Attempt int
		Reason         string
	}
	// Validated answers Validate.
	Validated struct {
		Round  int
		Pass   bool
		Reason string
	}
	// Decided answers Approve.
	Decided struct {
		Round  int
		Pass   bool
		Reason string // may name who decided
	}
	// Published answers Publish.
	Published struct{ Round, Version int }
	// RollBack makes an accepted version the one that clients are sent.
	RollBack struct {
		To     int
		Reason string
	}
	// Release ends a client's quarantine by hand.
	Release struct{ Client ClientID }
)

// Fault is why a client's message was refused in a secure sum. No honest client sends
// such a message, unless it may have been Late: then it is logged, and no strike.
type Fault struct {
	Client ClientID
	Reason string
	Late   bool
}

func (Tick) event()          {}
func (Resumed) event()       {}
func (Join) event()          {}
func (Leave) event()         {}
func (Drawn) event()         {}
func (Report) event()        {}
func (Malformed) event()     {}
func (Failure) event()       {}
func (Summed) event()        {}
func (SumFailed) event()     {}
func (Spent) event()         {}
func (Overspent) event()     {}
func (Combined) event()      {}
func (CombineFailed) event() {}
func (Validated) event()     {}
func (Decided) event()       {}
func (Published) event()     {}
func (RollBack) event()      {}
func (Release) event()       {}

// Action is what a server wants done. The set is closed. Doing one twice, as may
// happen around a crash, must be the same as doing it once.
type Action interface{ action() }

type (
	// Draw asks for a cohort of eligible members. A private draw is a function of the
	// round alone, so that an attempt made again has the same.
	Draw struct{ Round, Attempt int }
	// Ask sends the task of a version to clients.
	Ask struct {
		Round, Attempt, Version int
		Clients                 []ClientID
	}
	// Sum asks for the secure sum of the clients of a bucket.
	Sum struct {
		Round, Attempt, Bucket int
		Clients                []ClientID
	}
	// Spend writes the round's event to the ledger, under the round's name.
	Spend struct{ Round int }
	// Combine makes a candidate of what was reported or summed.
	Combine struct{ Round, Attempt int }
	// Validate judges the candidate.
	Validate struct {
		Round     int
		Candidate Digest
	}
	// Approve asks a person about the candidate.
	Approve struct {
		Round     int
		Candidate Digest
	}
	// Publish makes the candidate a version.
	Publish struct {
		Round, Version int
		Candidate      Digest
	}
	// Restore makes an earlier version the current one.
	Restore struct{ Version int }
	// Discard forgets the updates of an attempt: of a round that is over, or is to be
	// tried again.
	Discard struct{ Round, Attempt int }
	// Record is a line for the log.
	Record struct {
		Kind           Kind
		Round, Attempt int
		Client         ClientID
		Version        int
		Digest         Digest
		Reason         string
	}
)

func (Draw) action()     {}
func (Ask) action()      {}
func (Sum) action()      {}
func (Spend) action()    {}
func (Combine) action()  {}
func (Validate) action() {}
func (Approve) action()  {}
func (Publish) action()  {}
func (Restore) action()  {}
func (Discard) action()  {}
func (Record) action()   {}

// Kind is what a log entry is about.
type Kind string

// The kinds of log entries.
const (
	KindJoined      Kind = "joined"
	KindLeft        Kind = "left"
	KindAsked       Kind = "asked"
	KindReported    Kind = "reported"
	KindRefused     Kind = "refused"
	KindDropped     Kind = "dropped"
	KindLate        Kind = "late"
	KindIgnored     Kind = "ignored"
	KindQuarantined Kind = "quarantined"
	KindReleased    Kind = "released"
	KindSummed      Kind = "summed"
	KindSpent       Kind = "spent"
	KindCandidate   Kind = "candidate"
	KindValidated   Kind = "validated"
	KindApproved    Kind = "approved"
	KindAccepted    Kind = "accepted"
	KindRejected    Kind = "rejected"
	KindFailed      Kind = "failed"
	KindAbandoned   Kind = "abandoned"
	KindRolledBack  Kind = "rolled-back"
	KindResumed     Kind = "resumed"
	KindEnded       Kind = "ended"
)
