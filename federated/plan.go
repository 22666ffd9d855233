package federated

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/sotto-ml/sotto/aggregate"
)

// Plan says what rounds are run, and what each side may see. Fields that are not said
// to have a zero value are required. Plan.Validate names what is wrong, and what does
// not go together, with the reason.
type Plan struct {
	// Parameters is the length of the model's vector.
	Parameters int
	// Rounds is how many rounds are run; ones that fail or are rejected count.
	Rounds    int
	Strategy  Strategy
	Selection Selection
	// MinCohort is the fewest updates that a version is made of; 0 is none, which
	// gives versions without a change if nobody answers.
	MinCohort int
	// MinMembers is how many eligible members a round waits for; 0 is as many as the
	// selection needs, at least MinCohort. MaxMembers is how many may join; 0 is 2^20.
	MinMembers, MaxMembers int
	// Attempts is how often a round may be tried; 0 is 3.
	Attempts  int
	Deadlines Deadlines // zero fields are a day for people, an hour for clients, 10 minutes else
	// MaxWeight bounds the weights that clients claim; 0 is 1.
	MaxWeight float64
	// MaxNorm bounds the l2 norm of updates that come in the clear: longer ones are
	// refused; 0 is none. With Secure updates are scaled down to it, and it is required
	// unless Privacy clips.
	MaxNorm float64
	// Rule combines updates, or with Buckets their means; nil is the strategy's mean.
	Rule        aggregate.Rule
	Buckets     *Buckets
	Secure      bool        // updates are seen as sums of buckets only
	Compression Compression // of updates in the clear; nil is none
	Privacy     Privacy     // nil is none
	Gate        Gate
	Quarantine  Quarantine
	// Seed is of public randomness: selections that are not private, and buckets.
	Seed uint64
}

// Quarantine keeps clients out whose updates are refused time and again.
type Quarantine struct {
	Strikes int           // refusals in a row; 0: nobody is quarantined
	For     time.Duration // 0: until released by hand
}

func (p *Plan) maxWeight() float64 {
	if p.MaxWeight == 0 {
		return 1
	}
	return p.MaxWeight
}

func (p *Plan) maxSteps() int {
	if n, ok := p.Strategy.(FedNova); ok {
		return n.MaxSteps
	}
	return math.MaxInt
}

func (p *Plan) maxMembers() int {
	if p.MaxMembers == 0 {
		return 1 << 20
	}
	return p.MaxMembers
}

// maxCohort is the most clients that a round can have.
func (p *Plan) maxCohort() int {
	switch s := p.Selection.(type) {
	case Uniform:
		return min(s.Clients+s.Extra, p.maxMembers())
	case Weighted:
		return min(s.Clients+s.Extra, p.maxMembers())
	}
	return p.maxMembers()
}

// buckets is the number of sums that updates are put into.
func (p *Plan) buckets() int {
	if p.Buckets == nil {
		return 1
	}
	n, _, err := p.Buckets.count(p.Rule)
	if err != nil {
		return 1
	}
	return n
}

// Sums is the number of sums that a round's updates are put into: one, or that of
// Buckets, whose error it returns.
func (p Plan) Sums() (int, error) {
	if p.Buckets == nil {
		return 1, nil
	}
	n, _, err := p.Buckets.count(p.Rule)
	return n, err
}

// Validate returns an error that names the field, its value and what is allowed, if the
// plan cannot be run.
func (p Plan) Validate() error {
	switch {
	case p.Parameters < 1 || p.Parameters > 1<<33:
		return fmt.Errorf("federated: Parameters is %d, must be in [1, 2^33]", p.Parameters)
	case p.Rounds < 1:
		return fmt.Errorf("federated: Rounds is %d, must be at least 1", p.Rounds)
	case p.Strategy == nil:
		return errors.New("federated: Strategy is missing")
	case p.Selection == nil:
		return errors.New("federated: Selection is missing")
	case p.MinCohort < 0:
		return fmt.Errorf("federated: MinCohort is %d, must be at least 0", p.MinCohort)
	case p.MinMembers < 0:
		return fmt.Errorf("federated: MinMembers is %d, must be at least 0", p.MinMembers)
	case p.MaxMembers < 0 || p.MaxMembers > 1<<20:
		return fmt.Errorf("federated: MaxMembers is %d, must be in [0, 2^20]", p.MaxMembers)
	case p.Attempts < 0 || p.Attempts > 1000:
		return fmt.Errorf("federated: Attempts is %d, must be in [0, 1000]", p.Attempts)
	case !(p.MaxWeight >= 0) || math.IsInf(p.MaxWeight, 0):
		return fmt.Errorf("federated: MaxWeight is %v, must be finite and at least 0", p.MaxWeight)
	case !(p.MaxNorm >= 0) || math.IsInf(p.MaxNorm, 0):
		return fmt.Errorf("federated: MaxNorm is %v, must be finite and at least 0", p.MaxNorm)
	case p.Quarantine.Strikes < 0 || p.Quarantine.For < 0:
		return fmt.Errorf("federated: Quarantine is %+v, must not be negative", p.Quarantine)
	}
	d := p.Deadlines
	if min(d.Wait, d.Collect, d.Sum, d.Work, d.Approve) < 0 {
		return fmt.Errorf("federated: Deadlines are %+v, must not be negative", d)
	}
	if err := first(p.Strategy.check(), p.Selection.check(), p.Gate.check()); err != nil {
		return err
	}
	if n := p.Selection.sizes().enough; n > 0 && p.MinCohort > n {
		return fmt.Errorf("federated: MinCohort is %d, but Selection ends a collection at %d updates", p.MinCohort, n)
	}
	if p.Compression != nil {
		if err := p.Compression.check(); err != nil {
			return err
		}
	}
	if p.Privacy != nil {
		if err := p.Privacy.check(&p); err != nil {
			return err
		}
	}
	return p.together()
}

// together refuses what does not go together.
func (p *Plan) together() error {
	n := p.Strategy.needs()
	name := p.Strategy.name()
	if n.buffer > 0 {
		switch {
		case p.Secure:
			return errors.New("federated: Secure with FedBuff: a secure sum needs its clients at one time, a buffer takes them as they come")
		case p.Buckets != nil:
			return errors.New("federated: Buckets with FedBuff: a buffer's clients are not drawn together")
		case p.Selection.sizes().enough != 0 || p.Selection.sizes().rate != 1:
			return fmt.Errorf("federated: FedBuff with Selection %T: Concurrency says how many clients are at work; use All", p.Selection)
		case p.MinCohort > n.buffer:
			return fmt.Errorf("federated: MinCohort is %d, must be at most FedBuff.Buffer = %d", p.MinCohort, n.buffer)
		}
	}
	if p.Rule != nil {
		if err := checkRule(p.Rule); err != nil {
			return err
		}
		switch {
		case n.weighted:
			return fmt.Errorf("federated: Rule %T with weighted %s: rules count clients, and a weight is what a liar would lie about; use an unweighted strategy, or a rule with Weights of your own", p.Rule, name)
		case n.control:
			return fmt.Errorf("federated: Rule %T with Scaffold: a liar would reach the model through the control variates, which no rule combines", p.Rule)
		}
	}
	if p.Buckets != nil {
		switch {
		case p.Rule == nil:
			return errors.New("federated: Buckets without Rule: means of buckets need a rule across them")
		case n.weighted || n.control:
			return fmt.Errorf("federated: Buckets with %s: sums of buckets hold neither weights nor control variates", name)
		}
		count, _, err := p.Buckets.count(p.Rule)
		if err != nil {
			return err
		}
		if n := p.Selection.sizes().enough; n > 0 && n < count {
			return fmt.Errorf("federated: Selection %+v gives fewer updates than the %d buckets", p.Selection, count)
		}
	}
	if p.Secure {
		switch {
		case p.Rule != nil && p.Buckets == nil:
			return fmt.Errorf("federated: Rule %T with one secure sum: a rule needs to see rows; use Buckets, and the rule sees their means", p.Rule)
		case n.weighted:
			return fmt.Errorf("federated: Secure with weighted %s: weights inside a sum cannot be checked; use an unweighted strategy", name)
		case n.control:
			return errors.New("federated: Secure with Scaffold: control variates would be sent in the clear")
		case p.Privacy == nil && p.MaxNorm == 0:
			return errors.New("federated: Secure without MaxNorm: sums are of whole numbers below 2^32, so updates need a bound")
		case p.Compression != nil:
			return fmt.Errorf("federated: Secure with Compression %T: packed updates have scales or places of their own and cannot be added up", p.Compression)
		}
		if _, local := p.Privacy.(Local); local {
			return errors.New("federated: Secure with Local: the noise of one client hides it already; use Distributed for less of it")
		}
		if err := p.encoding().check(); err != nil {
			return err
		}
		if err := p.largeEnough(); err != nil {
			return err
		}
	}
	if p.Compression != nil {
		_, sparse := p.Compression.(TopK)
		switch {
		case n.control:
			return fmt.Errorf("federated: Compression %T with Scaffold: a control variate follows from the exact update", p.Compression)
		case sparse && p.Rule != nil:
			return fmt.Errorf("federated: TopK with Rule %T: most of a row is zeros, which a robust rule takes for the clients' opinion", p.Rule)
		}
		if _, local := p.Privacy.(Local); local && sparse {
			return errors.New("federated: TopK with Local: the largest elements of a noised update are noise")
		}
	}
	return nil
}

// largeEnough refuses cohorts that leave too few sums of enough clients, even if all
// answer.
func (p *Plan) largeEnough() error {
	buckets, need := p.buckets(), 1
	if p.Buckets != nil {
		_, need, _ = p.Buckets.count(p.Rule)
	}
	cohort := p.maxCohort()
	if n := p.Selection.sizes().enough; n > 0 {
		cohort = min(cohort, n)
	}
	floor, large := p.fewestSurvivors(), 0
	switch each := cohort / buckets; {
	case each >= floor:
		large = buckets
	case each == floor-1:
		large = cohort % buckets
	}
	if large < need {
		return fmt.Errorf("federated: Secure with %d clients in %d sums: %d of these are of at least %d clients, must be at least %d", cohort, buckets, large, floor, need)
	}
	return nil
}

// Protocol gives the constants that [Step] runs the plan by.
func (p Plan) Protocol() (Protocol, error) {
	if err := p.Validate(); err != nil {
		return Protocol{}, err
	}
	return p.protocol(), nil
}

// protocol gives the constants of the plan's state machine. The plan is valid.
func (p *Plan) protocol() Protocol {
	s, n := p.Selection.sizes(), p.Strategy.needs()
	out := Protocol{
		Rounds: p.Rounds, Attempts: p.Attempts, MinMembers: max(p.MinMembers, p.MinCohort, s.least), MaxMembers: p.maxMembers(),
		MinCohort: p.MinCohort, Enough: s.enough,
		Secure: p.Secure, Approval: p.Gate.Approve != nil,
		Buffered: n.buffer > 0, Staleness: n.staleness, MaxWeight: p.maxWeight(),
		Strikes: p.Quarantine.Strikes, Sentence: p.Quarantine.For, Deadlines: p.Deadlines,
	}
	if n.buffer > 0 {
		out.Enough = n.buffer
	}
	if out.Attempts == 0 {
		out.Attempts = 3
	}
	if p.Privacy != nil {
		out.Spend = p.Privacy.point()
	}
	if p.Secure {
		out.MinBuckets = 1
		if p.Buckets != nil {
			_, out.MinBuckets, _ = p.Buckets.count(p.Rule)
		}
		out.BucketFloor = p.fewestSurvivors()
	}
	for _, d := range []struct {
		at   *time.Duration
		zero time.Duration
	}{
		{&out.Deadlines.Wait, 24 * time.Hour}, {&out.Deadlines.Approve, 24 * time.Hour}, {&out.Deadlines.Collect, time.Hour},
		{&out.Deadlines.Sum, 10 * time.Minute}, {&out.Deadlines.Work, 10 * time.Minute},
	} {
		if *d.at == 0 {
			*d.at = d.zero
		}
	}
	return out
}

// fewestSurvivors is of how few clients a secure sum may be revealed.
func (p *Plan) fewestSurvivors() int {
	if d, ok := p.Privacy.(Distributed); ok {
		return d.MinSurvivors
	}
	return 2
}

// String says in a few lines what runs, who sees what, and what is guaranteed.
func (p Plan) String() string {
	if err := p.Validate(); err != nil {
		return "invalid plan: " + err.Error()
	}
	out := fmt.Sprintf("%d rounds of %s%+v, cohorts %T%+v", p.Rounds, p.Strategy.name(), p.Strategy, p.Selection, p.Selection)
	switch {
	case p.Secure && p.Buckets != nil:
		_, fewest, _ := p.Buckets.count(p.Rule)
		out += fmt.Sprintf("\nthe server learns, each round, who is in which of %d buckets and each bucket's sum, of at least %d clients; %T across at least %d of them bears %d liars", p.buckets(), p.fewestSurvivors(), p.Rule, fewest, p.Buckets.F)
	case p.Secure:
		out += fmt.Sprintf("\nthe server learns, each round, who took part and one sum, of at least %d clients", p.fewestSurvivors())
	default:
		out += "\nthe server learns each client's update"
		if _, local := p.Privacy.(Local); local {
			out += ", noised"
		}
	}
	if p.Privacy == nil {
		return out + "\nno differential privacy"
	}
	g, err := p.Guarantee()
	if err != nil {
		return out + "\n" + err.Error()
	}
	return out + "\n" + g.String()
}
