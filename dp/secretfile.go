package dp

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/sotto-ml/sotto/internal/stream"
)

// Checkpoint files hold a key. Unlike internal/atomicfile, what is written
// here goes through one temporary name, so that a crash leaves no second copy
// that no one will overwrite.

func temporary(path string) string { return path + ".tmp" }

// writeCheckpoint replaces the file whole and overwrites the key in the former
// one. If it was written, an error says that the former's key was not.
func writeCheckpoint(path string, data []byte) (written bool, err error) {
	tmp := temporary(path)
	if err := shred(tmp); err != nil {
		return false, fmt.Errorf("dp: checkpoint: %w", err)
	}
	former, err := openRegular(path)
	if err != nil {
		return false, fmt.Errorf("dp: checkpoint: %w", err)
	}
	if former != nil {
		defer former.Close()
	}
	if err := replace(path, tmp, data); err != nil {
		return false, err
	}
	if former != nil {
		if err := overwrite(former, int64(len(checkpointMagic)), int64(len(stream.Key{}))); err != nil {
			return true, fmt.Errorf("dp: checkpoint: %s is written, but the key in the file that it replaced could not be overwritten: %w", path, err)
		}
	}
	return true, nil
}

// replace puts data in the file's place, by way of a temporary name.
func replace(path, tmp string, data []byte) (err error) {
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("dp: checkpoint: %s is unchanged: %w", path, err), shred(tmp))
		}
	}()
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := f.Sync(); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	syncDir(path)
	return nil
}

// sameFile reports whether two names are one file's.
func sameFile(a, b string) bool {
	if a == b {
		return true
	}
	first, err := os.Lstat(a)
	if err != nil {
		return false
	}
	second, err := os.Lstat(b)
	return err == nil && os.SameFile(first, second)
}

// eraseCheckpoint overwrites and removes the file and what a crash may have
// left beside it.
func eraseCheckpoint(path string) error {
	if err := errors.Join(shred(temporary(path)), shred(path)); err != nil {
		return fmt.Errorf("dp: checkpoint: cannot erase: %w", err)
	}
	syncDir(path)
	return nil
}

// shred overwrites a file and removes it, if it is there.
func shred(path string) error {
	f, err := openRegular(path)
	if f == nil {
		return err
	}
	info, err := f.Stat()
	if err == nil {
		err = overwrite(f, 0, info.Size())
	}
	return errors.Join(err, f.Close(), os.Remove(path))
}

// openRegular opens a file for overwriting; nil if there is none. It refuses
// what is not a regular file, links above all.
func openRegular(path string) (*os.File, error) {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	return os.OpenFile(path, os.O_WRONLY, 0)
}

// overwrite writes zeros over size bytes from an offset on, down to the disk.
func overwrite(f *os.File, from, size int64) error {
	zeros := make([]byte, min(size, 1<<16))
	for size > 0 {
		n, err := f.WriteAt(zeros[:min(size, int64(len(zeros)))], from)
		if err != nil {
			return err
		}
		from, size = from+int64(n), size-int64(n)
	}
	return f.Sync()
}

// syncDir makes a rename or a removal durable where the file system can.
func syncDir(path string) {
	if d, err := os.Open(filepath.Dir(path)); err == nil {
		_ = d.Sync()
		_ = d.Close()
	}
}
