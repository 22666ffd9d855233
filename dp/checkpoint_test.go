package dp

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sotto-ml/sotto/dp/accounting"
	"github.com/sotto-ml/sotto/internal/kernel"
)

// Killed after any step and resumed by a fresh process's worth of state, a run
// ends in the same bits, and so does one that is resumed after every step.
func TestRule10ResumeIsTheSameRun(t *testing.T) {
	for name, plan := range everyClip() {
		t.Run(name, func(t *testing.T) {
			whole := newTrial(400, plan)
			trainer := whole.start(t)
			for !trainer.Done() {
				require.NoError(t, trainer.Step())
			}
			want, norm, stats := slices.Clone(whole.task.Params), trainer.ClipNorm(), trainer.NotPrivateStats()
			for kill := 0; kill <= plan.Steps; kill++ {
				path := filepath.Join(t.TempDir(), "run")
				first := newTrial(400, plan)
				trainer := first.start(t)
				for range kill {
					require.NoError(t, trainer.Step())
				}
				require.NoError(t, trainer.Save(path))
				if !trainer.Done() { // lost with the process
					require.NoError(t, trainer.Step())
				}
				for range 2 { // and killed again, and again
					second := newTrial(400, plan)
					resumed, err := Resume(path, second.plan, second.task)
					require.NoError(t, err)
					require.Equal(t, kill, resumed.Steps())
					for !resumed.Done() {
						require.NoError(t, resumed.Step())
					}
					require.Equal(t, want, second.task.Params)
					require.Equal(t, norm, resumed.ClipNorm())
					require.Equal(t, stats, resumed.NotPrivateStats())
				}
			}
			path := filepath.Join(t.TempDir(), "run")
			require.NoError(t, newTrial(400, plan).start(t).Save(path))
			for range plan.Steps {
				tr := newTrial(400, plan)
				trainer, err := Resume(path, tr.plan, tr.task)
				require.NoError(t, err)
				require.NoError(t, trainer.Step())
				require.NoError(t, trainer.Save(path))
				whole = tr
			}
			require.Equal(t, want, whole.task.Params)
		})
	}
}

func savedRun(t *testing.T) (path string, tr *trial) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "run")
	trainer := newTrial(400, somePlan()).start(t)
	require.NoError(t, trainer.Step())
	require.NoError(t, trainer.Step())
	require.NoError(t, trainer.Save(path))
	return path, newTrial(400, somePlan()) // to resume with
}

// Noise must not meet other gradients than those it was drawn for.
func TestRule10ResumeRefusesAnotherRun(t *testing.T) {
	path, _ := savedRun(t)
	for want, change := range map[string]func(tr *trial){
		"plan is": func(tr *trial) { tr.plan.NoiseMultiplier *= 2 },
		"\"steps\":5": func(tr *trial) {
			tr.plan.Steps--
		},
		"clip_mode\":\"automatic": func(tr *trial) { tr.plan.Clip = Automatic{Norm: 1, Stability: 0.01} },
		"replace-one":             func(tr *trial) { tr.plan.Relation = accounting.ReplaceOne },
		"number of parameters is 12, this run's is 11": func(tr *trial) { tr.task.Params = tr.task.Params[:11] },
		"number of records is 400, this run's is 399":  func(tr *trial) { tr.task.Records-- },
		"digest of data and model is 01":               func(tr *trial) { tr.task.Digest[31]++ },
		"digest of the optimizer":                      func(tr *trial) { tr.task.Optimizer = still{} },
		"before the run":                               func(tr *trial) { tr.task.Optimizer = &sgd{velocity: make([]float32, 12)} },
		"instruction set": func(tr *trial) {
			if kernel.Best() == kernel.Generic {
				t.Skip("one instruction set on this machine")
			}
			t.Cleanup(kernel.Use(kernel.Generic))
		},
	} {
		t.Run(want, func(t *testing.T) {
			tr := newTrial(400, somePlan())
			change(tr)
			before := slices.Clone(tr.task.Params)
			_, err := Resume(path, tr.plan, tr.task)
			require.ErrorContains(t, err, want)
			require.ErrorContains(t, err, "another run")
			require.ErrorContains(t, err, path)
			require.Equal(t, before, tr.task.Params)
			if o, ok := tr.task.Optimizer.(*sgd); ok {
				require.Equal(t, make([]float32, len(o.velocity)), append([]float32{}, o.velocity...))
			}
		})
	}
	_, err := Resume(path+"no", somePlan(), newTrial(400, somePlan()).task)
	require.ErrorIs(t, err, os.ErrNotExist)
}

// Every header field that names a run is held against the run.
func TestRule10EveryIdentityFieldIsChecked(t *testing.T) {
	path, _ := savedRun(t)
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	for _, swap := range [][2]string{
		{`"architecture":"`, `"architecture":"x`}, {`"go":"`, `"go":"x`}, {`"level":"`, `"level":"x`},
		{`"records":400`, `"records":401`}, {`"digest":"01`, `"digest":"02`}, {`"noise_multiplier":1.5`, `"noise_multiplier":1.6`},
	} {
		other := rewrite(t, data, func(h []byte) []byte {
			require.Contains(t, string(h), swap[0])
			return []byte(strings.Replace(string(h), swap[0], swap[1], 1))
		})
		file := filepath.Join(t.TempDir(), "run")
		require.NoError(t, os.WriteFile(file, other, 0o600))
		tr := newTrial(400, somePlan())
		_, err := Resume(file, tr.plan, tr.task)
		require.ErrorContains(t, err, "another run", swap[0])
	}
}

// rewrite changes a checkpoint's header and mends its lengths and checksum.
func rewrite(t *testing.T, data []byte, change func(header []byte) []byte) []byte {
	t.Helper()
	at := len(checkpointMagic) + 32
	n := int(binary.LittleEndian.Uint64(data[at:]))
	head := change(data[at+8 : at+8+n])
	out := slices.Clone(data[:at])
	out = append(binary.LittleEndian.AppendUint64(out, uint64(len(head))), head...)
	out = append(out, data[at+8+n:len(data)-sha256.Size]...)
	sum := sha256.Sum256(out)
	return append(out, sum[:]...)
}

func TestResumeRefusesDamage(t *testing.T) {
	path, _ := savedRun(t)
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	refuse := func(damaged []byte) {
		t.Helper()
		require.NoError(t, os.WriteFile(path, damaged, 0o600))
		tr := newTrial(400, somePlan())
		before := slices.Clone(tr.task.Params)
		_, err := Resume(path, tr.plan, tr.task)
		require.ErrorContains(t, err, "checkpoint")
		require.Equal(t, before, tr.task.Params)
	}
	for n := 0; n < len(data); n += 13 {
		refuse(data[:n])
	}
	for i := range data {
		if i < 100 || i%17 == 0 || i > len(data)-40 {
			bad := slices.Clone(data)
			bad[i] ^= 0x40
			refuse(bad)
		}
	}
	refuse(append(slices.Clone(data), 0))
	refuse(rewrite(t, data, func(h []byte) []byte { return bytes.Replace(h, []byte(`"step":2`), []byte(`"step":7`), 1) }))
	refuse(rewrite(t, data, func(h []byte) []byte { return bytes.Replace(h, []byte(`"step":2`), []byte(`"step":-1`), 1) }))
	refuse(rewrite(t, data, func(h []byte) []byte { return bytes.Replace(h, []byte(`"step":2`), []byte(`"stop":2`), 1) }))
	refuse(rewrite(t, data, func([]byte) []byte { return []byte("{}") }))
	// NaN parameters, well formed.
	at := len(checkpointMagic) + 32
	at += 8 + int(binary.LittleEndian.Uint64(data[at:])) + 8
	bad := slices.Clone(data)
	binary.LittleEndian.PutUint32(bad[at:], math.Float32bits(float32(math.NaN())))
	refuse(rewrite(t, bad, func(h []byte) []byte { return h }))
	require.NoError(t, os.WriteFile(path, data, 0o600))
	tr := newTrial(400, somePlan())
	_, err = Resume(path, tr.plan, tr.task)
	require.NoError(t, err)
}

func TestCheckpointIsSecretAndErased(t *testing.T) {
	path, tr := savedRun(t)
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	trainer, err := Resume(path, tr.plan, tr.task)
	require.NoError(t, err)
	key := trainer.key
	require.NotZero(t, key)
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Contains(t, string(data), string(key[:]))

	// A replaced file loses its key: a second name of it shows what is left.
	old := path + ".old"
	require.NoError(t, os.Link(path, old))
	require.NoError(t, trainer.Step())
	require.NoError(t, trainer.Save(path))
	left, err := os.ReadFile(old)
	require.NoError(t, err)
	require.Len(t, left, len(data))
	require.NotContains(t, string(left), string(key[:]))
	require.NoError(t, os.Remove(old))

	// What a crash in Save leaves behind is erased too.
	require.NoError(t, os.Link(path, old))
	require.NoError(t, os.WriteFile(temporary(path), data, 0o600))
	leftover := path + ".leftover"
	require.NoError(t, os.Link(temporary(path), leftover))
	require.NoError(t, trainer.Erase())
	for _, name := range []string{old, leftover} {
		left, err := os.ReadFile(name)
		require.NoError(t, err)
		require.Equal(t, make([]byte, len(left)), left)
	}
	require.NoFileExists(t, path)
	require.NoFileExists(t, temporary(path))
	require.Zero(t, trainer.key)
	require.Zero(t, trainer.noiseKey)
	require.ErrorContains(t, trainer.Step(), "erased")
	require.ErrorContains(t, trainer.Save(path), "erased")
	require.NoFileExists(t, path)
	require.NoError(t, trainer.Erase())
}

func TestSaveFailsWhole(t *testing.T) {
	path, tr := savedRun(t)
	before, err := os.ReadFile(path)
	require.NoError(t, err)
	trainer, err := Resume(path, tr.plan, tr.task)
	require.NoError(t, err)
	require.NoError(t, trainer.Step())

	require.ErrorContains(t, newTrial(10, somePlan()).start(t).Save(filepath.Join(t.TempDir(), "no", "run")), "no such file")

	// A file's place taken by a folder; a link to somewhere else.
	folder := t.TempDir()
	require.ErrorContains(t, newTrial(10, somePlan()).start(t).Save(folder), "not a regular file")
	entries, err := os.ReadDir(filepath.Dir(folder))
	require.NoError(t, err)
	for _, e := range entries {
		require.NotContains(t, e.Name(), ".tmp")
	}
	link := filepath.Join(t.TempDir(), "link")
	require.NoError(t, os.Symlink(path, link))
	require.ErrorContains(t, newTrial(10, somePlan()).start(t).Save(link), "not a regular file")
	after, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, before, after)

	nameless := newTrial(10, somePlan())
	nameless.task.Digest = [32]byte{}
	require.ErrorContains(t, nameless.start(t).Save(path), "Digest")

	// Another name: the former file goes, but not before the new one stands.
	require.Error(t, trainer.Save(filepath.Join(t.TempDir(), "no", "run")))
	require.FileExists(t, path)
	other := filepath.Join(t.TempDir(), "other")
	require.NoError(t, trainer.Save(other))
	require.NoFileExists(t, path)
	require.FileExists(t, other)

	// The same file by another name: it stays, and the run knows it still.
	dir := filepath.Join(t.TempDir(), "dir")
	require.NoError(t, os.Symlink(filepath.Dir(other), dir))
	alias := filepath.Join(dir, "other")
	require.NoError(t, trainer.Save(alias))
	require.FileExists(t, other)
	t.Chdir(filepath.Dir(other))
	require.NoError(t, trainer.Save("other"))
	require.FileExists(t, other)
	t.Chdir(t.TempDir())
	require.NoError(t, trainer.Erase())
	require.NoFileExists(t, other)

	// A file that Save could not write is not this run's to erase.
	strangers := filepath.Join(t.TempDir(), "strangers")
	require.NoError(t, os.Mkdir(strangers, 0o700))
	third := newTrial(10, somePlan()).start(t)
	require.Error(t, third.Save(strangers))
	require.NoError(t, third.Erase())
	require.DirExists(t, strangers)
}

func copyFile(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o600)
}

// TestMain lets the test binary be the program that TestRule10Killed kills.
func TestMain(m *testing.M) {
	if path := os.Getenv("SOTTO_DP_TEST_RUN"); path != "" {
		if err := killable(path); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// killable runs a trial to its end, saving after every step, and prints the
// bits that it ends with.
func killable(path string) error {
	plan := somePlan()
	plan.Steps = 600
	tr := newTrial(400, plan)
	trainer, err := Resume(path, tr.plan, tr.task)
	if err != nil {
		return err
	}
	for !trainer.Done() {
		if err := trainer.Step(); err != nil {
			return err
		}
		if err := trainer.Save(path); err != nil {
			return err
		}
	}
	return json.NewEncoder(os.Stdout).Encode(tr.task.Params)
}

func contents(path string) []byte {
	b, _ := os.ReadFile(path) // it may be between two files
	return b
}

func TestRule10Killed(t *testing.T) {
	plan := somePlan()
	plan.Steps = 600
	want := newTrial(400, plan).run(t)
	path := filepath.Join(t.TempDir(), "run")
	require.NoError(t, newTrial(400, plan).start(t).Save(path))
	random := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0))
	kills, last := 0, 0
	for {
		var out, stderr bytes.Buffer
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "SOTTO_DP_TEST_RUN="+path)
		cmd.Stdout, cmd.Stderr = &out, &stderr
		before := contents(path)
		require.NoError(t, cmd.Start())
		done := make(chan struct{})
		if kills < 15 {
			delay := time.Duration(random.IntN(27000)) * time.Microsecond
			go func(anywhere bool) {
				for !anywhere && bytes.Equal(before, contents(path)) { // on a slow machine too, some steps come first
					select {
					case <-done:
						return
					case <-time.After(time.Millisecond):
					}
				}
				select {
				case <-done:
				case <-time.After(delay):
					_ = cmd.Process.Kill()
				}
			}(kills%2 == 0)
		}
		err := cmd.Wait()
		close(done)
		if err == nil {
			var got []float32
			require.NoError(t, json.Unmarshal(out.Bytes(), &got))
			require.Equal(t, want, got)
			break
		}
		require.Equal(t, -1, cmd.ProcessState.ExitCode(), stderr.String()) // by the signal
		kills++
		tr := newTrial(400, plan)
		trainer, err := Resume(path, tr.plan, tr.task)
		require.NoError(t, err)
		require.GreaterOrEqual(t, trainer.Steps(), last)
		last = trainer.Steps()
	}
	require.Greater(t, kills, 2)
	require.Positive(t, last)
	t.Logf("killed %d times, last at step %d", kills, last)
}

func FuzzDecodeCheckpoint(f *testing.F) {
	tr := newTrial(40, somePlan())
	trainer := tr.start(f)
	data, err := trainer.encode()
	require.NoError(f, err)
	f.Add(data)
	f.Add(data[:60])
	f.Add([]byte(checkpointMagic))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) >= sha256.Size { // past the checksum, for what lies behind it
			sum := sha256.Sum256(data[:len(data)-sha256.Size])
			data = append(slices.Clone(data[:len(data)-sha256.Size]), sum[:]...)
		}
		c, err := decodeCheckpoint(data)
		if err != nil {
			return
		}
		require.NoError(t, c.header.Plan.Validate())
		require.Len(t, c.params, 4*c.header.Params)
	})
}
