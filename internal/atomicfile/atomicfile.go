// Package atomicfile writes a file whole or not at all.
//
// The bytes go to a temporary file in the same folder, which is synced and
// renamed over the name asked for; the folder is synced last. A crash or an
// error at any point leaves either the old file or the new one, and no
// temporary file after an error.
package atomicfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// Write replaces the file name by what write gives, with permission bits perm
// whatever the umask or an older file's bits.
func Write(name string, perm fs.FileMode, write func(io.Writer) error) (err error) {
	dir, base := filepath.Split(name)
	if base == "" {
		return fmt.Errorf("atomicfile: name %q has no file in it", name)
	}
	if dir == "" {
		dir = "."
	}
	f, err := os.CreateTemp(dir, "."+base+".*.tmp") // created with mode 0600
	if err != nil {
		return fmt.Errorf("atomicfile: cannot write beside %s: %w", name, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("atomicfile: %s is unchanged: %w", name, err), ignoreClosed(f.Close()), os.Remove(f.Name()))
		}
	}()
	if err := write(f); err != nil {
		return err
	}
	if err := f.Chmod(perm); err != nil && runtime.GOOS != "windows" {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), name); err != nil {
		return err
	}
	syncDir(dir)
	return nil
}

// Probe reports whether Write could replace name, so that a long run refuses
// an unwritable output before it starts. It leaves nothing behind.
func Probe(name string) error {
	if st, err := os.Stat(name); err == nil && st.IsDir() {
		return fmt.Errorf("atomicfile: %s is a folder", name)
	}
	dir, base := filepath.Split(name)
	if base == "" {
		return fmt.Errorf("atomicfile: name %q has no file in it", name)
	}
	if dir == "" {
		dir = "."
	}
	f, err := os.CreateTemp(dir, "."+base+".*.tmp")
	if err != nil {
		return fmt.Errorf("atomicfile: cannot write beside %s: %w", name, err)
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// syncDir makes the rename durable. Not every file system can sync a folder;
// where it cannot, the rename is still atomic.
func syncDir(dir string) {
	if d, err := os.Open(dir); err == nil {
		_ = d.Sync()
		_ = d.Close()
	}
}

func ignoreClosed(err error) error {
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}
