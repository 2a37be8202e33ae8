package fileset

import (
	"errors"
	"io/fs"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

func TestSpread(t *testing.T) {
	t.Parallel()
	dirs := []string{t.TempDir(), "/proc"} // one as the machine has it, one that has no such marks
	if shm, err := os.MkdirTemp("/dev/shm", "spread-"); err == nil {
		t.Cleanup(func() { _ = os.Remove(shm) })
		dirs = append(dirs, shm)
	}
	for _, dir := range dirs {
		for range 2 {
			if err := Spread(dir); err != nil {
				t.Errorf("%s: %v", dir, err)
			}
		}
		var st unix.Statfs_t
		if err := unix.Statfs(dir, &st); err != nil {
			t.Fatal(err)
		}
		if st.Type != unix.EXT4_SUPER_MAGIC {
			continue
		}
		f, err := os.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		flags, err := unix.IoctlGetUint32(int(f.Fd()), unix.FS_IOC_GETFLAGS)
		_ = f.Close()
		if err != nil || flags&topOfTrees == 0 {
			t.Errorf("%s is on ext4 and has the marks %#x, %v", dir, flags, err)
		}
	}
	if err := Spread(t.TempDir() + "/none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
}
