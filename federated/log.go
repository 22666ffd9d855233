package federated

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
)

// Entry is a line of the decision log. Its hash covers all else in it, and by Previous
// all entries before it.
type Entry struct {
	Number   int      `json:"number"` // from 1
	Time     Instant  `json:"time"`
	Kind     Kind     `json:"kind"`
	Round    int      `json:"round"`
	Attempt  int      `json:"attempt"`
	Version  int      `json:"version"`
	Client   ClientID `json:"client,omitempty"`
	Digest   string   `json:"digest,omitempty"`
	Reason   string   `json:"reason,omitempty"`
	Previous Digest   `json:"previous"`
	Hash     Digest   `json:"hash"`
}

// sum is the entry's hash: SHA-256 of its JSON with a hash of zeros.
func (e Entry) sum() (Digest, error) {
	e.Hash = Digest{}
	line, err := json.Marshal(e)
	return sha256.Sum256(line), err
}

// Summary is what a log was found to hold.
type Summary struct {
	Entries int
	Head    Digest // of the last entry: whoever keeps it elsewhere can tell if entries were cut off since
	Kinds   map[Kind]int
	// Torn is the number of bytes at the end that a crash left of an entry.
	Torn int
}

// ErrTampered is what errors of [Verify] wrap if a log was changed.
var ErrTampered = errors.New("the log was damaged or tampered with")

// maxLine is the longest line that a log may have.
const maxLine = 1 << 16

// Verify reads a decision log and checks its chain. Errors name the entry and wrap
// ErrTampered, or are the reader's. visit, if not nil, is given each entry.
//
// Entries that were changed, removed, put in or exchanged are found. Entries cut off at
// the end, or a chain written anew from some point on, are found only by whoever kept a
// head: compare the hashes of visited entries with it.
func Verify(r io.Reader, visit func(Entry) error) (Summary, error) {
	s := Summary{Kinds: map[Kind]int{}}
	in := bufio.NewReaderSize(r, maxLine)
	for {
		line, err := in.ReadSlice('\n')
		if errors.Is(err, io.EOF) {
			s.Torn = len(line)
			return s, nil
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			return s, fmt.Errorf("federated: log entry %d is longer than %d bytes: %w", s.Entries+1, maxLine, ErrTampered)
		}
		if err != nil {
			return s, fmt.Errorf("federated: log: %w", err)
		}
		e, err := parseEntry(line, s.Entries+1, s.Head)
		if err != nil {
			return s, err
		}
		s.Entries, s.Head = e.Number, e.Hash
		s.Kinds[e.Kind]++
		if visit != nil {
			if err := visit(e); err != nil {
				return s, err
			}
		}
	}
}

// parseEntry reads one line, which must be the very bytes that would be written.
func parseEntry(line []byte, number int, previous Digest) (Entry, error) {
	var e Entry
	wrong := func(what string) (Entry, error) {
		return e, fmt.Errorf("federated: log entry %d %s: %w", number, what, ErrTampered)
	}
	if err := json.Unmarshal(line, &e); err != nil {
		return wrong("is not JSON of an entry")
	}
	hash, err := e.sum()
	if err != nil {
		return wrong("cannot be hashed")
	}
	again, err := json.Marshal(e)
	switch {
	case err != nil || !bytes.Equal(append(again, '\n'), line):
		return wrong("is not written as this package writes it")
	case e.Number != number:
		return wrong(fmt.Sprintf("has number %d", e.Number))
	case e.Previous != previous:
		return wrong("does not continue the one before")
	case e.Hash != hash:
		return wrong("does not have its hash")
	}
	return e, nil
}

// chain writes a log.
type chain struct {
	to   io.Writer
	sync func() error
	next int
	head Digest
	buf  []byte
}

// openChain opens a log file for appending, after checking it, and cuts off what a
// crash left of an entry.
func openChain(path string) (*chain, *os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, nil, fmt.Errorf("federated: log: %w", err)
	}
	s, err := Verify(f, nil)
	if err == nil {
		var size int64
		if size, err = f.Seek(0, io.SeekEnd); err == nil && s.Torn > 0 {
			size -= int64(s.Torn)
			if err = f.Truncate(size); err == nil {
				_, err = f.Seek(size, io.SeekStart)
			}
		}
	}
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("federated: log %s: %w", path, err), f.Close())
	}
	return &chain{to: f, sync: f.Sync, next: s.Entries, head: s.Head}, f, nil
}

// add appends a record; flush writes what was added.
func (c *chain) add(now Instant, r Record) error {
	if c == nil || c.to == nil {
		return nil
	}
	reason := r.Reason
	if len(reason) > 1000 {
		reason = reason[:1000] + "…"
	}
	e := Entry{
		Number: c.next + 1, Time: now, Kind: r.Kind, Round: r.Round, Attempt: r.Attempt, Version: r.Version,
		Client: r.Client, Reason: reason, Previous: c.head,
	}
	if r.Digest != (Digest{}) {
		e.Digest = r.Digest.String()
	}
	e.Client, e.Reason = ClientID(valid(string(e.Client))), valid(e.Reason)
	hash, err := e.sum()
	if err != nil {
		return fmt.Errorf("federated: log: %w", err)
	}
	e.Hash = hash
	line, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("federated: log: %w", err)
	}
	c.buf = append(append(c.buf, line...), '\n')
	c.next, c.head = e.Number, hash
	return nil
}

// valid replaces what is not UTF-8, so that an entry reads back as it was written.
func valid(s string) string { return string(bytes.ToValidUTF8([]byte(s), []byte("�"))) }

// flush makes what was added durable.
func (c *chain) flush() error {
	if c == nil || len(c.buf) == 0 {
		return nil
	}
	if _, err := c.to.Write(c.buf); err != nil {
		return fmt.Errorf("federated: log: %w", err)
	}
	c.buf = c.buf[:0]
	if c.sync != nil {
		if err := c.sync(); err != nil {
			return fmt.Errorf("federated: log: %w", err)
		}
	}
	return nil
}
