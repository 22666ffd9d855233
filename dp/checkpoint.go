package dp

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"

	"github.com/sotto-ml/sotto/internal/kernel"
	"github.com/sotto-ml/sotto/internal/stream"
)

// A checkpoint file is
//
//	magic
//	key       32 bytes
//	header    JSON, as its length in 8 bytes and itself
//	params    likewise, float32
//	optimizer likewise, as MarshalBinary gave it
//	SHA-256 of all of the above
//
// with integers and floats little-endian. The sum is against accidents, not
// against forgery.
const checkpointMagic = "sotto run 1\n"

// header is what a checkpoint holds beside vectors. What a resumed run must
// agree with comes first.
type header struct {
	Plan    Plan   `json:"plan"`
	Digest  string `json:"digest"`
	Params  int    `json:"params"`
	Records int    `json:"records"`
	// Optimizer is a digest of the optimiser's type and state before the run,
	// which tells its settings.
	Optimizer string `json:"optimizer"`
	// Gradients depend on these in their last bits.
	Level        string `json:"level"`
	Architecture string `json:"architecture"`
	Go           string `json:"go"`
	// Ledger says that a ledger keeps the run.
	Ledger bool `json:"ledger"`

	Step     int        `json:"step"`
	ClipNorm uint64     `json:"clip_norm_bits"`
	Latest   StepCounts `json:"latest"`
	Counts   StepCounts `json:"counts"`
}

func (t *Trainer) header() header {
	return header{
		Plan: t.plan, Digest: hex.EncodeToString(t.task.Digest[:]),
		Params: len(t.task.Params), Records: t.task.Records, Optimizer: t.optimizer,
		Level: kernel.Current().String(), Architecture: runtime.GOARCH, Go: runtime.Version(),
		Ledger: t.task.Ledger != nil, Step: t.step, ClipNorm: math.Float64bits(t.clip.norm), Latest: t.stats.Step, Counts: t.stats.Run,
	}
}

// Save writes the run's whole state to a file, so that [Resume] continues it to
// the last bit. The file is replaced whole or not at all, with mode 0600: it
// holds the key of all noise, past and to come, and whoever reads it can undo
// the privacy of every step. [Trainer.Erase] destroys it when the run ends.
//
// Task.Digest must be set. A Trainer keeps one file: Save to another name erases
// the former.
func (t *Trainer) Save(path string) error {
	switch {
	case t.erased:
		return errors.New("dp: the run's keys are erased")
	case t.failed != nil:
		return t.failed
	case t.task.Digest == [32]byte{}:
		return errors.New("dp: task: Digest is missing: a checkpoint must know the data and the model that its noise was drawn for")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return fmt.Errorf("dp: checkpoint: %w", err)
	}
	data, err := t.encode()
	if err != nil {
		return err
	}
	defer clear(data)
	written, err := writeCheckpoint(path, data)
	if !written {
		return err
	}
	former := t.file
	t.file = path
	// The former file goes once the new one stands, unless both names are the
	// same file's.
	if former != "" && !sameFile(former, path) {
		err = errors.Join(err, eraseCheckpoint(former))
	}
	return err
}

func (t *Trainer) encode() ([]byte, error) {
	head, err := json.Marshal(t.header())
	if err != nil {
		return nil, fmt.Errorf("dp: checkpoint: %w", err)
	}
	optimizer, err := t.task.Optimizer.MarshalBinary()
	if err != nil {
		return nil, fmt.Errorf("dp: checkpoint: optimizer: %w", err)
	}
	params := t.task.Params
	out := make([]byte, 0, len(checkpointMagic)+len(t.key)+3*8+len(head)+4*len(params)+len(optimizer)+sha256.Size)
	out = append(append(out, checkpointMagic...), t.key[:]...)
	out = append(binary.LittleEndian.AppendUint64(out, uint64(len(head))), head...)
	out = binary.LittleEndian.AppendUint64(out, uint64(4*len(params)))
	for _, v := range params {
		out = binary.LittleEndian.AppendUint32(out, math.Float32bits(v))
	}
	out = append(binary.LittleEndian.AppendUint64(out, uint64(len(optimizer))), optimizer...)
	sum := sha256.Sum256(out)
	return append(out, sum[:]...), nil
}

// optimizerDigest identifies an optimiser that has taken no step of this run.
func optimizerDigest(o Optimizer) (string, error) {
	state, err := o.MarshalBinary()
	if err != nil {
		return "", fmt.Errorf("dp: task: Optimizer: %w", err)
	}
	sum := sha256.Sum256(append(fmt.Appendf(nil, "%T\n", o), state...))
	return hex.EncodeToString(sum[:]), nil
}

// checkpoint is a file taken apart.
type checkpoint struct {
	key       stream.Key
	header    header
	params    []byte
	optimizer []byte
}

func decodeCheckpoint(data []byte) (*checkpoint, error) {
	if !bytes.HasPrefix(data, []byte(checkpointMagic)) {
		return nil, errors.New("not a checkpoint")
	}
	if len(data) < len(checkpointMagic)+len(stream.Key{})+sha256.Size {
		return nil, errors.New("checkpoint is cut short")
	}
	body, sum := data[:len(data)-sha256.Size], data[len(data)-sha256.Size:]
	if got := sha256.Sum256(body); !bytes.Equal(got[:], sum) {
		return nil, errors.New("checkpoint is damaged or cut short: its checksum is wrong")
	}
	c := &checkpoint{}
	rest := body[len(checkpointMagic):]
	rest = rest[copy(c.key[:], rest):]
	var head []byte
	for _, part := range []*[]byte{&head, &c.params, &c.optimizer} {
		if len(rest) < 8 || binary.LittleEndian.Uint64(rest) > uint64(len(rest)-8) {
			return nil, errors.New("checkpoint's parts are longer than itself")
		}
		n := binary.LittleEndian.Uint64(rest)
		*part, rest = rest[8:8+n], rest[8+n:]
	}
	if len(rest) != 0 {
		return nil, errors.New("checkpoint is longer than its parts")
	}
	if err := strict(head, &c.header); err != nil {
		return nil, fmt.Errorf("checkpoint's header: %w", err)
	}
	h := &c.header
	if err := h.Plan.Validate(); err != nil {
		return nil, fmt.Errorf("checkpoint's header: %w", err)
	}
	if h.Params < 0 || len(c.params)%4 != 0 || len(c.params)/4 != h.Params {
		return nil, fmt.Errorf("checkpoint's params are %d bytes, its header says %d float32", len(c.params), h.Params)
	}
	if h.Step < 0 || h.Step > h.Plan.Steps {
		return nil, fmt.Errorf("checkpoint's step is %d, must lie in [0, %d]", h.Step, h.Plan.Steps)
	}
	if n := math.Float64frombits(h.ClipNorm); !(n >= minClip/2 && n <= maxClip*maxClip) {
		return nil, fmt.Errorf("checkpoint's clip norm is %v", n)
	}
	return c, nil
}

// Resume continues the run that Save wrote to a file, in the state it was in:
// the parameters in task are overwritten, the optimiser's state is restored, and
// every later step is, to the last bit, what it would have been.
//
// A run's noise must never meet other gradients than those it was drawn for:
// their difference would lie open. So the plan, the number of parameters and
// records, Task.Digest, the optimiser before its first step, the instruction set
// and the Go release must be those of the file, and an error names the first
// that is not. A run that a ledger keeps needs it again, and goes on with its own
// reservation. On error, nothing in task has changed, except that workers may
// have been made.
func Resume(path string, plan Plan, task Task) (*Trainer, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("dp: resume: %w", err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("dp: resume: %w", err)
	}
	defer clear(data)
	c, err := decodeCheckpoint(data)
	if err != nil {
		return nil, fmt.Errorf("dp: resume: %s: %w", path, err)
	}
	defer c.key.Erase()
	t, err := newTrainer(plan, task, &c.key)
	if err != nil {
		return nil, err
	}
	if err := t.restore(c); err != nil {
		t.wipe()
		return nil, fmt.Errorf("dp: resume: %s: %w", path, err)
	}
	t.file = path
	return t, nil
}

// restore checks that the checkpoint is of this run and takes its state over.
func (t *Trainer) restore(c *checkpoint) error {
	h, mine := &c.header, t.header()
	theirs, err := json.Marshal(h.Plan)
	if err != nil {
		return err
	}
	ours, err := json.Marshal(mine.Plan)
	if err != nil {
		return err
	}
	for _, field := range []struct {
		name       string
		file, task any
	}{
		{"plan", string(theirs), string(ours)},
		{"number of parameters", h.Params, mine.Params},
		{"number of records", h.Records, mine.Records},
		{"digest of data and model", h.Digest, mine.Digest},
		{"digest of the optimizer before the run", h.Optimizer, mine.Optimizer},
		{"instruction set", h.Level, mine.Level},
		{"architecture", h.Architecture, mine.Architecture},
		{"Go release", h.Go, mine.Go},
	} {
		if field.file != field.task {
			return fmt.Errorf("checkpoint is of another run: its %s is %v, this run's is %v", field.name, field.file, field.task)
		}
	}
	params := make([]float32, h.Params)
	for i := range params {
		params[i] = math.Float32frombits(binary.LittleEndian.Uint32(c.params[4*i:]))
	}
	if !kernel.AllFinite(params) {
		return errors.New("checkpoint's params hold a NaN or an infinity")
	}
	if h.Ledger && t.task.Ledger == nil {
		return errors.New("checkpoint is of a run that a ledger keeps: task: Ledger is missing")
	}
	t.resumed = true
	if err := t.reserve(); err != nil {
		return err
	}
	if err := t.task.Optimizer.UnmarshalBinary(c.optimizer); err != nil {
		return fmt.Errorf("checkpoint's optimizer: %w", err)
	}
	copy(t.task.Params, params)
	t.step = h.Step
	t.clip.norm = math.Float64frombits(h.ClipNorm)
	t.stats = NotPrivateStats{Step: h.Latest, Run: h.Counts}
	return nil
}

// Erase ends the run: it overwrites the keys in memory, and overwrites and
// removes the checkpoint. Call it when the trained parameters are safe, or to
// abandon the run. No step can be taken afterwards, so the ledger, if there is
// one, is settled for the steps that were taken; a run that was resumed is
// settled whole, as the process that was killed may have gone further than its
// checkpoint. On error it may be called again. What it cannot reach are copies
// that a file system or a disk keeps of overwritten data.
func (t *Trainer) Erase() error {
	t.wipe()
	if t.file != "" {
		if err := eraseCheckpoint(t.file); err != nil {
			return err
		}
		t.file = ""
	}
	return t.settle()
}

func (t *Trainer) wipe() {
	t.erased = true
	t.key.Erase()
	t.noiseKey.Erase()
	if t.draw != nil {
		t.draw.erase()
	}
	for i := range t.crew.members {
		m := &t.crew.members[i]
		clear(m.sum)
		clear(m.norms[:cap(m.norms)])
		clear(m.weights[:cap(m.weights)])
	}
}
