package federated

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"slices"
	"time"
)

// ClientID names a client: 1 to 200 bytes.
type ClientID string

// Digest is a SHA-256 hash: how a [State] names a vector without holding it.
type Digest [32]byte

// String gives the digest in hexadecimal.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// MarshalText gives the digest in hexadecimal.
func (d Digest) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads 64 hexadecimal digits.
func (d *Digest) UnmarshalText(text []byte) error {
	if hex.DecodedLen(len(text)) != len(d) {
		return fmt.Errorf("federated: digest has %d characters, must have %d", len(text), 2*len(d))
	}
	if _, err := hex.Decode(d[:], text); err != nil {
		return fmt.Errorf("federated: digest %q is not hexadecimal", text)
	}
	return nil
}

// Instant is a time in nanoseconds since 1970. A simulation's may begin at 0.
type Instant int64

// Phase is what a server waits for.
type Phase uint8

// The phases of a round, in their order. Summing is for secure sums, Spending for
// private plans, Approving where a person is asked.
const (
	Waiting    Phase = iota // for clients
	Drawing                 // for a cohort
	Collecting              // for the cohort's updates
	Summing                 // for secure sums
	Spending                // for the ledger
	Combining               // for a candidate
	Gating                  // for the candidate's validation
	Approving               // for a person
	Publishing              // for the candidate to become a version
	Done                    // all rounds ran
	Stopped                 // no more rounds can run: State.Reason says why
)

var phaseNames = [...]string{"waiting", "drawing", "collecting", "summing", "spending", "combining", "gating", "approving", "publishing", "done", "stopped"}

// String names the phase.
func (p Phase) String() string {
	if int(p) < len(phaseNames) {
		return phaseNames[p]
	}
	return fmt.Sprintf("Phase(%d)", uint8(p))
}

// Over reports whether the phase is one that nothing leaves by itself.
func (p Phase) Over() bool { return p == Done || p == Stopped }

// Standing is what became of one client in one attempt.
type Standing uint8

// What a seat holds.
const (
	Asked    Standing = iota // was sent the task
	Reported                 // its update counts
	Refused                  // its update cannot be right
	Dropped                  // left, failed, or fell out of the secure sum
	Late                     // did not answer in time
)

// Seat is a client's place in a cohort.
type Seat struct {
	Client   ClientID `json:"client"`
	Standing Standing `json:"standing"`
	Bucket   int      `json:"bucket,omitempty"`
	Weight   float64  `json:"weight,omitempty"`
	Update   Digest   `json:"update"`
	Faulted  bool     `json:"faulted,omitempty"` // in a secure sum, which it may be in all the same
	// Round, Attempt and Version are those that the client was asked in. They are
	// the state's own but for buffered strategies, whose clients may be asked in one
	// round and count in a later one.
	Round   int `json:"round"`
	Attempt int `json:"attempt"`
	Version int `json:"version"`
}

// Member is a client that joined at least once.
type Member struct {
	Client  ClientID `json:"client"`
	Active  bool     `json:"active"`
	Weight  float64  `json:"weight"`            // declared, for weighted selection
	Strikes int      `json:"strikes,omitempty"` // refusals since the last update that counted
	// Until is when the member's quarantine ends; 0 if it is in none.
	Until Instant `json:"until,omitempty"`
	// Counted is the last round whose version holds an update of this client.
	Counted int `json:"counted,omitempty"`
}

// A bucket's secure sum.
const (
	sumPending = iota
	sumKnown
	sumFailed
)

// BucketSum is what is known of the secure sum of one bucket.
type BucketSum struct {
	State int    `json:"state"`
	Sum   Digest `json:"sum"`
}

// State is all that a server of rounds must remember, but for vectors, which it names
// by digest. It is plain data; [Step] never changes one, but returns another.
type State struct {
	Now      Instant `json:"now"`
	Phase    Phase   `json:"phase"`
	Deadline Instant `json:"deadline"` // of the phase
	Round    int     `json:"round"`    // from 1; numbers are never used twice
	Attempt  int     `json:"attempt"`  // of the round, from 1
	Version  int     `json:"version"`  // of the model that clients are sent
	Latest   int     `json:"latest"`   // the highest version there ever was
	// Spent is the last round that the ledger holds. It never falls.
	Spent int `json:"spent"`
	// Revealed says that something this round's spending pays for was seen: the
	// round cannot be tried again.
	Revealed  bool        `json:"revealed,omitempty"`
	Candidate Digest      `json:"candidate"`
	Seats     []Seat      `json:"seats,omitempty"` // by client
	Open      int         `json:"open,omitempty"`  // seats that are Asked
	Came      int         `json:"came,omitempty"`  // seats that are Reported
	Sums      []BucketSum `json:"sums,omitempty"`
	Members   []Member    `json:"members,omitempty"` // by client
	// Releases is when the next quarantine ends; 0 if there is none.
	Releases Instant `json:"releases,omitempty"`
	Reason   string  `json:"reason,omitempty"` // why it stopped
}

// clone copies what [Step] may write.
func (s State) clone() State {
	s.Seats = slices.Clone(s.Seats)
	s.Sums = slices.Clone(s.Sums)
	s.Members = slices.Clone(s.Members)
	return s
}

func (s *State) member(c ClientID) *Member {
	i, ok := slices.BinarySearchFunc(s.Members, c, func(m Member, c ClientID) int { return cmp.Compare(m.Client, c) })
	if !ok {
		return nil
	}
	return &s.Members[i]
}

func (s *State) seat(c ClientID) *Seat {
	i, ok := slices.BinarySearchFunc(s.Seats, c, func(m Seat, c ClientID) int { return cmp.Compare(m.Client, c) })
	if !ok {
		return nil
	}
	return &s.Seats[i]
}

func (m *Member) eligible() bool { return m.Active && m.Until == 0 }

// eligible is the number of members that may be drawn.
func (s *State) eligible() int {
	n := 0
	for i := range s.Members {
		if s.Members[i].eligible() {
			n++
		}
	}
	return n
}

// SpendPoint is when a round's privacy is written to the ledger: before whatever it
// pays for can be seen by whom it protects against.
type SpendPoint uint8

// Where spending stands in a round.
const (
	SpendNothing       SpendPoint = iota
	SpendBeforeAsk                // clients add the noise: the server must not see more than paid for
	SpendBeforeCombine            // the server adds the noise: the published model must not show more
)

// Protocol holds the constants of [Step]. [Plan] makes them; a test may choose its own.
type Protocol struct {
	Rounds      int           `json:"rounds"`
	Attempts    int           `json:"attempts"`     // of each round, at least 1
	MinMembers  int           `json:"min_members"`  // a round waits for as many eligible members
	MaxMembers  int           `json:"max_members"`  // that may ever join; 0: any number
	MinCohort   int           `json:"min_cohort"`   // the fewest updates that a version is made of
	Enough      int           `json:"enough"`       // as many updates end the collection; 0: all of the cohort's
	Spend       SpendPoint    `json:"spend"`        //
	Secure      bool          `json:"secure"`       // updates are seen as sums of buckets only
	MinBuckets  int           `json:"min_buckets"`  // the fewest sums that a version is made of
	BucketFloor int           `json:"bucket_floor"` // the fewest clients of a sum
	Approval    bool          `json:"approval"`     //
	Buffered    bool          `json:"buffered"`     // seats outlive rounds
	Staleness   int           `json:"staleness"`    // versions that a buffered update may be behind
	MaxWeight   float64       `json:"max_weight"`   // weights are in (0, MaxWeight]
	Strikes     int           `json:"strikes"`      // refusals in a row that lead to quarantine; 0: none do
	Sentence    time.Duration `json:"sentence"`     // how long a quarantine is; 0: until released by hand
	Deadlines   Deadlines     `json:"deadlines"`
}

// Start is the state of a server that has been told nothing yet: it waits for clients.
func (p *Protocol) Start(now Instant) State {
	m := machine{p: p, s: State{Now: now}}
	m.enter(Waiting, p.Deadlines.Wait)
	return m.s
}

// Deadlines say how long each phase may last, all positive. Work is for what the server
// does by itself.
type Deadlines struct {
	Wait, Collect, Sum, Work, Approve time.Duration
}

const never = Instant(1<<63 - 1)
