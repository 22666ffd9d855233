package ledger

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
)

// A ledger file is
//
//	magic
//	record 0, seal, record 1, seal, …
//
// and a record is
//
//	length   4 bytes: of the payload
//	checksum 4 bytes: CRC-32C of the payload
//	check    4 bytes: CRC-32C of the former two
//	payload  JSON
//	hash     SHA-256 of the former record's hash (of magic, in record 0) and all of the above
//
// with integers little-endian. A record is written and synced before its seal is
// written. So whatever lies before a seal was whole on the disk once, and if it
// is not now, something else than a crash changed it. What lies behind the last
// seal may be torn: it is kept if it is a whole record, else dropped, and was
// never acknowledged.
const (
	magic      = "sotto ledger 1\n"
	headerSize = 12
	maxPayload = 1 << 20
)

// seal holds bytes that UTF-8 does not, so no payload holds it.
var seal = []byte{0xff, 0xfe, 's', 'e', 'a', 'l', 0xff, '\n'}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Hash identifies a ledger's contents up to a record.
type Hash [sha256.Size]byte

// String gives the hash in hexadecimal.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// MarshalText gives the hash in hexadecimal.
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText reads 64 hexadecimal digits.
func (h *Hash) UnmarshalText(text []byte) error {
	b, err := hex.DecodeString(string(text))
	if err != nil || len(b) != len(h) {
		return fmt.Errorf("ledger: head is %q, must be %d hexadecimal digits", text, 2*len(h))
	}
	copy(h[:], b)
	return nil
}

// ErrTampered is what errors wrap that say that a ledger was changed by
// something else than this package: damage, or a hand.
var ErrTampered = errors.New("the ledger was damaged or tampered with")

func tampered(record int, why string) error {
	return fmt.Errorf("record %d %s: %w", record, why, ErrTampered)
}

// appendRecord appends a record without its seal, and returns its hash.
func appendRecord(dst []byte, former Hash, payload []byte) ([]byte, Hash) {
	start := len(dst)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(payload)))
	dst = binary.LittleEndian.AppendUint32(dst, crc32.Checksum(payload, castagnoli))
	dst = binary.LittleEndian.AppendUint32(dst, crc32.Checksum(dst[start:], castagnoli))
	dst = append(dst, payload...)
	hash := chain(former, dst[start:])
	return append(dst, hash[:]...), hash
}

func chain(former Hash, record []byte) Hash {
	h := sha256.New()
	h.Write(former[:])
	h.Write(record)
	return Hash(h.Sum(nil))
}

// firstHash is what record 0 is chained to.
func firstHash() Hash { return sha256.Sum256([]byte(magic)) }

// readRecord reads the record that data starts with. Why it cannot is a
// sentence's end.
func readRecord(data []byte, former Hash) (payload []byte, hash Hash, size int, why string) {
	if len(data) < headerSize {
		return nil, hash, 0, "is cut short"
	}
	if crc32.Checksum(data[:8], castagnoli) != binary.LittleEndian.Uint32(data[8:]) {
		return nil, hash, 0, "has a wrong header"
	}
	length := binary.LittleEndian.Uint32(data)
	if length > maxPayload {
		return nil, hash, 0, "is too long"
	}
	size = headerSize + int(length) + len(hash)
	if len(data) < size {
		return nil, hash, 0, "is cut short"
	}
	payload = data[headerSize : headerSize+int(length)]
	if crc32.Checksum(payload, castagnoli) != binary.LittleEndian.Uint32(data[4:]) {
		return nil, hash, 0, "has a wrong checksum"
	}
	hash = chain(former, data[:headerSize+int(length)])
	if !bytes.Equal(hash[:], data[size-len(hash):size]) {
		return nil, hash, 0, "does not continue the hash chain"
	}
	return payload, hash, size, ""
}

// errCut refuses a file without a single whole record, as Create leaves one if it
// is killed. To take it for a new ledger would forget whatever was cut off.
var errCut = errors.New("holds no whole record: it was cut short, when it was made or later")

// scanned is what a ledger file holds.
type scanned struct {
	payloads [][]byte
	hashes   []Hash // of each
	end      int    // of what stands
	sealed   bool   // whether end is behind its seal
}

// scan takes a file apart. What a crash can leave is not an error; anything else
// is, and names the record.
func scan(data []byte) (s scanned, err error) {
	if len(data) < len(magic) && magic[:len(data)] == string(data) {
		return s, errCut
	}
	if !bytes.HasPrefix(data, []byte(magic)) {
		return s, errors.New("not a ledger of this version")
	}
	former := firstHash()
	s.end, s.sealed = len(magic), true
	for at := len(magic); at < len(data); {
		payload, hash, size, why := readRecord(data[at:], former)
		if why != "" {
			return s, s.torn(data, at, why)
		}
		s.payloads, s.hashes = append(s.payloads, payload), append(s.hashes, hash)
		former = hash
		at += size
		s.end, s.sealed = at, bytes.HasPrefix(data[at:], seal)
		if !s.sealed {
			return s, s.torn(data, at, "")
		}
		at += len(seal)
		s.end = at
	}
	if len(s.payloads) == 0 {
		return s, errCut
	}
	return s, nil
}

// torn decides whether what starts at an offset is the remainder of a crash.
func (s *scanned) torn(data []byte, at int, why string) error {
	record := len(s.payloads)
	if why == "" {
		record, why = record-1, "is not sealed"
	}
	if bytes.Contains(data[at:], seal) {
		return tampered(record, why)
	}
	if len(data)-at > len(seal)+headerSize+maxPayload+len(Hash{}) {
		return tampered(record, why+" and is followed by more than a record")
	}
	if len(s.payloads) == 0 {
		return errCut
	}
	return nil
}
