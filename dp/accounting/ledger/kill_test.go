package ledger

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sotto-ml/sotto/dp/accounting"
)

// TestMain lets the test binary be the program that tests kill.
func TestMain(m *testing.M) {
	if path := os.Getenv("SOTTO_LEDGER_TEST"); path != "" {
		if err := spend(path); err != nil {
			fmt.Fprintln(os.Stderr, err)
			if errors.Is(err, ErrLocked) {
				os.Exit(3)
			}
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func killBudget() Budget {
	return Budget{DataSet: "d", Relation: accounting.AddRemove, Epsilon: 3, Delta: 1e-5}
}

// perRun is how many steps a run reserves.
const perRun = 20

func killEvent(count int) accounting.Event { return gaussians(1000, count) }

// spend reserves, runs and settles for ever. It prints what it asks and does
// as it goes:
//
//	r RUN    the ledger acknowledged the reservation
//	x RUN    a step begins
//	s RUN N  the ledger acknowledged that N steps were run
func spend(path string) error {
	l, err := Open(path)
	if err != nil {
		return err
	}
	a, err := l.Account(killBudget())
	if err != nil {
		return err
	}
	for i := 0; ; i++ {
		run := fmt.Sprintf("%d-%d", os.Getpid(), i)
		if err := a.Reserve(run, accounting.AddRemove, killEvent(perRun), 0); err != nil {
			return err
		}
		_, _ = fmt.Printf("r %s\n", run)
		steps := 1 + (os.Getpid()+i)%perRun
		for range steps {
			_, _ = fmt.Printf("x %s\n", run)
		}
		if err := a.Settle(run, killEvent(steps), 0); err != nil {
			return err
		}
		_, _ = fmt.Printf("s %s %d\n", run, steps)
	}
}

// told is what killed processes said.
type told struct {
	steps   map[string]int
	settled map[string]int
	asked   map[string]bool
	each    float64 // the part of the budget that a step uses
	kills   int
	boot    time.Duration // how long the latest that was waited for took to speak
}

func (k *told) hear(out []byte) {
	lines := bufio.NewScanner(bytes.NewReader(out[:bytes.LastIndexByte(out, '\n')+1]))
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		switch words[0] {
		case "r":
			k.asked[words[1]] = true
		case "x":
			k.steps[words[1]]++
		case "s":
			k.settled[words[1]], _ = strconv.Atoi(words[2])
		}
	}
}

// check holds a ledger against what was told: nothing acknowledged is lost,
// nothing counts twice, and nothing that ran counts less than it ran.
func (k *told) check(path string) error {
	b, err := Read(path)
	if err != nil {
		return err
	}
	counted := map[string]int{}
	steps := 0
	for _, s := range b.DataSets {
		for _, r := range s.Runs {
			if _, twice := counted[r.Name]; twice {
				return fmt.Errorf("run %s is there twice", r.Name)
			}
			e, err := accounting.UnmarshalEvent(r.Counted)
			if err != nil {
				return err
			}
			n := e.(accounting.SelfComposed).Count
			counted[r.Name] = n
			steps += n
			if want, ok := k.settled[r.Name]; ok && (n != want || r.State != "settled") {
				return fmt.Errorf("run %s counts %d steps, %d were settled", r.Name, n, want)
			}
		}
		if steps == 0 {
			continue
		}
		each := s.Used / float64(steps)
		if k.each == 0 {
			k.each = each
		}
		if math.Abs(each-k.each) > 1e-9*k.each || s.Used > 1 {
			return fmt.Errorf("%d steps use %v of the budget, each %v before", steps, s.Used, k.each)
		}
	}
	for run := range k.asked {
		if _, ok := counted[run]; !ok {
			return fmt.Errorf("run %s was reserved and is lost", run)
		}
	}
	for run, n := range k.steps {
		if counted[run] < n {
			return fmt.Errorf("run %s counts %d steps, %d were run", run, counted[run], n)
		}
	}
	return nil
}

// TestKilled kills writers at random points.
func TestKilled(t *testing.T) {
	kills, lanes, each := 1000, 4, 50
	if testing.Short() {
		kills = 60
	}
	var left, done, records atomic.Int64
	left.Store(int64(kills))
	var group sync.WaitGroup
	for range lanes {
		group.Go(func() {
			for left.Load() > 0 {
				path := filepath.Join(t.TempDir(), "ledger")
				l, err := Create(path)
				if err == nil {
					err = l.Close()
				}
				if err != nil {
					t.Error(err)
					return
				}
				k := &told{steps: map[string]int{}, settled: map[string]int{}, asked: map[string]bool{}}
				for range each {
					if left.Add(-1) < 0 {
						break
					}
					if err := killOnce(path, k); err != nil {
						t.Error(err)
						return
					}
					done.Add(1)
				}
				b, err := Read(path)
				if err != nil {
					t.Error(err)
					return
				}
				records.Add(int64(b.Records))
			}
		})
	}
	group.Wait()
	require.EqualValues(t, kills, done.Load())
	require.Greater(t, records.Load(), int64(kills)/10, "the processes wrote")
	t.Logf("%d kills, %d records", done.Load(), records.Load())
}

// spoken says when a process has printed something.
type spoken struct {
	all   bytes.Buffer
	begun chan struct{}
	once  sync.Once
}

func (s *spoken) Write(b []byte) (int, error) {
	s.once.Do(func() { close(s.begun) })
	return s.all.Write(b)
}

// killOnce kills a writer within the time that the latest took to speak; each eighth, the
// first among them, soon after it has spoken itself, however long that takes on the day.
func killOnce(path string, k *told) error {
	stdout := &spoken{begun: make(chan struct{})}
	var stderr bytes.Buffer
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "SOTTO_LEDGER_TEST="+path)
	cmd.Stdout, cmd.Stderr = stdout, &stderr
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	// The square spares the machine: most die before they cost much.
	part := rand.Float64()
	wait, silent := time.Duration(part*part*float64(k.boot)), false
	if k.kills++; k.kills%8 == 1 {
		select {
		case <-stdout.begun:
			wait, k.boot = time.Duration(part*8e6), time.Since(start)
		case <-ended:
		case <-time.After(2 * time.Minute):
			silent = true
		}
	}
	select {
	case <-ended:
	case <-time.After(wait):
	}
	_ = cmd.Process.Kill()
	<-ended
	if silent {
		return errors.New("the writer wrote nothing in two minutes")
	}
	if cmd.ProcessState.ExitCode() != -1 {
		return fmt.Errorf("the writer was not killed but ended: %s", stderr.String())
	}
	k.hear(stdout.all.Bytes())
	return k.check(path)
}

// TestTwoProcesses holds a ledger in one process and asks for it in another; the
// lock ends with its holder, however that ends.
func TestTwoProcesses(t *testing.T) {
	l, path := create(t)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "SOTTO_LEDGER_TEST="+path)
	require.NoError(t, cmd.Start())
	process := cmd.Process
	hangs := time.AfterFunc(2*time.Minute, func() { _ = process.Kill() })
	require.Error(t, cmd.Wait())
	hangs.Stop()
	require.Equal(t, 3, cmd.ProcessState.ExitCode(), "refused as locked")
	require.NoError(t, l.Close())

	// The other way round, with readers beside the writer.
	cmd = exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "SOTTO_LEDGER_TEST="+path)
	pipe, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines := bufio.NewScanner(pipe)
	last := 0
	for range 300 {
		require.True(t, lines.Scan())
		if strings.HasPrefix(lines.Text(), "s") {
			_, err := Open(path)
			require.ErrorIs(t, err, ErrLocked)
			b, err := Read(path)
			require.NoError(t, err)
			require.GreaterOrEqual(t, b.Records, last)
			last = b.Records
		}
	}
	require.Positive(t, last)
	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait()
	l, err = Open(path)
	require.NoError(t, err, "a killed writer's lock does not stay")
	require.NoError(t, l.Close())
}
