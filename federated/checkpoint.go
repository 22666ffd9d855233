package federated

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sotto-ml/sotto/internal/atomicfile"
	"github.com/sotto-ml/sotto/internal/stream"
)

// A folder holds: "state", the checkpoint; "key", the secret of private plans; "log";
// "version-N" for all versions; and vectors that the state names, by their digests.
// The checkpoint is replaced after every transition. What it names is written before
// it, and removed only after nothing names it.

// checkpoint is what the file "state" holds, after a line with its SHA-256.
type checkpoint struct {
	Format int    `json:"format"`
	Plan   Digest `json:"plan"`
	State  State  `json:"state"`
}

func encodeCheckpoint(plan Digest, s State) ([]byte, error) {
	body, err := json.Marshal(checkpoint{Format: 1, Plan: plan, State: s})
	if err != nil {
		return nil, fmt.Errorf("federated: checkpoint: %w", err)
	}
	h := sha256.Sum256(body)
	return append(append([]byte(hex.EncodeToString(h[:])), '\n'), body...), nil
}

// decodeCheckpoint reads a checkpoint and refuses states that no server can be in.
func decodeCheckpoint(data []byte) (checkpoint, error) {
	var c checkpoint
	head, body, ok := bytes.Cut(data, []byte{'\n'})
	h := sha256.Sum256(body)
	if !ok || string(head) != hex.EncodeToString(h[:]) {
		return c, errors.New("federated: checkpoint is damaged: its hash differs")
	}
	in := json.NewDecoder(bytes.NewReader(body))
	in.DisallowUnknownFields()
	if err := in.Decode(&c); err != nil {
		return c, fmt.Errorf("federated: checkpoint: %w", err)
	}
	if _, err := in.Token(); !errors.Is(err, io.EOF) {
		return c, errors.New("federated: checkpoint: there is something after it")
	}
	if c.Format != 1 {
		return c, fmt.Errorf("federated: checkpoint has format %d, must be 1", c.Format)
	}
	return c, c.State.check()
}

// check refuses states that Step cannot have made.
func (s *State) check() error {
	switch {
	case s.Phase > Stopped:
		return fmt.Errorf("federated: checkpoint: phase is %d, must be at most %d", s.Phase, Stopped)
	case s.Round < 0 || s.Attempt < 0 || s.Spent < 0 || s.Spent > s.Round:
		return fmt.Errorf("federated: checkpoint: round %d, attempt %d and spent %d do not fit", s.Round, s.Attempt, s.Spent)
	case s.Version < 0 || s.Version > s.Latest:
		return fmt.Errorf("federated: checkpoint: version is %d, must be in [0, %d]", s.Version, s.Latest)
	}
	open, came := 0, 0
	for i, x := range s.Seats {
		if x.Standing > Late || i > 0 && s.Seats[i-1].Client >= x.Client || x.Bucket < 0 || x.Bucket >= maxRows {
			return fmt.Errorf("federated: checkpoint: seat %d is not one", i)
		}
		switch x.Standing {
		case Asked:
			open++
		case Reported:
			came++
		}
	}
	if open != s.Open || came != s.Came {
		return fmt.Errorf("federated: checkpoint: %d seats are open and %d came, it says %d and %d", open, came, s.Open, s.Came)
	}
	for i, m := range s.Members {
		if i > 0 && s.Members[i-1].Client >= m.Client {
			return fmt.Errorf("federated: checkpoint: member %d is out of order", i)
		}
	}
	for i, x := range s.Sums {
		if x.State < sumPending || x.State > sumFailed {
			return fmt.Errorf("federated: checkpoint: sum %d is not one", i)
		}
	}
	return nil
}

// digest identifies a plan, but for its functions.
func (p *Plan) digest() Digest {
	h := sha256.New()
	for _, x := range []any{p.protocol(), p.Strategy, p.Selection, p.Rule, p.Privacy, p.Compression, []int{p.Parameters, p.buckets()}, p.MaxNorm, p.Seed} {
		text, err := json.Marshal(x)
		if err != nil {
			text = nil // a rule that holds a function
		}
		fmt.Fprintf(h, "%T %d %s\n", x, len(text), text)
	}
	return Digest(h.Sum(nil))
}

// vault keeps vectors by name: in a folder, or nowhere if it is "".
type vault struct {
	folder string
	names  map[string]bool
}

func openVault(folder string) (*vault, error) {
	v := &vault{folder: folder, names: map[string]bool{}}
	if folder == "" {
		return v, nil
	}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, fmt.Errorf("federated: folder: %w", err)
	}
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, fmt.Errorf("federated: folder: %w", err)
	}
	for _, e := range entries {
		v.names[e.Name()] = true
	}
	return v, nil
}

func (v *vault) durable() bool { return v.folder != "" }

func (v *vault) put(name string, data []byte) error {
	err := atomicfile.Write(filepath.Join(v.folder, name), 0o600, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
	if err != nil {
		return fmt.Errorf("federated: %w", err)
	}
	v.names[name] = true
	return nil
}

func (v *vault) get(name string) ([]byte, error) {
	data, err := os.ReadFile(filepath.Join(v.folder, name))
	if err != nil {
		return nil, fmt.Errorf("federated: %w", err)
	}
	return data, nil
}

// clean removes vectors that a state does not name.
func (v *vault) clean(s *State) error {
	keep := map[string]bool{}
	for _, x := range s.Seats {
		keep[updateName(x.Update)] = true
	}
	for _, x := range s.Sums {
		keep[sumName(x.Sum)] = true
	}
	keep[candidateName(s.Candidate)] = true
	var gone []string
	for name := range v.names {
		vector := strings.HasPrefix(name, "update-") || strings.HasPrefix(name, "sum-") || strings.HasPrefix(name, "candidate-")
		if vector && !keep[name] || strings.HasSuffix(name, ".tmp") {
			gone = append(gone, name)
		}
	}
	slices.Sort(gone)
	for _, name := range gone {
		if err := os.Remove(filepath.Join(v.folder, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("federated: %w", err)
		}
		delete(v.names, name)
	}
	return nil
}

func updateName(d Digest) string    { return "update-" + d.String() }
func sumName(d Digest) string       { return "sum-" + d.String() }
func candidateName(d Digest) string { return "candidate-" + d.String() }
func versionName(n int) string      { return fmt.Sprintf("version-%d", n) }

const (
	stateName = "state"
	keyName   = "key"
	logName   = "log"
)

// key returns the folder's key, a fresh one if there is neither a key nor a checkpoint.
func (v *vault) key() (stream.Key, error) {
	if !v.durable() {
		return stream.NewKey(), nil
	}
	if v.names[keyName] {
		data, err := v.get(keyName)
		if err != nil {
			return stream.Key{}, err
		}
		var k stream.Key
		if len(data) != len(k) || !slices.ContainsFunc(data, func(b byte) bool { return b != 0 }) {
			return k, fmt.Errorf("federated: %s has %d bytes, must have %d that are not erased", keyName, len(data), len(k))
		}
		copy(k[:], data)
		clear(data)
		return k, nil
	}
	if v.names[stateName] {
		return stream.Key{}, fmt.Errorf("federated: folder has a checkpoint, but no %s", keyName)
	}
	k := stream.NewKey()
	return k, v.put(keyName, k[:])
}

// eraseKey overwrites the key's file and removes it.
func (v *vault) eraseKey() error {
	if !v.durable() || !v.names[keyName] {
		return nil
	}
	name := filepath.Join(v.folder, keyName)
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("federated: %w", err)
	}
	_, err = f.Write(make([]byte, len(stream.Key{})))
	if err := errors.Join(err, f.Sync(), f.Close(), os.Remove(name)); err != nil {
		return fmt.Errorf("federated: %w", err)
	}
	delete(v.names, keyName)
	return nil
}
