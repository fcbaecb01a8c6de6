package store

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"
	"golang.org/x/sys/unix"

	"ringfence/guard"
)

// A disk is a small file system of its own. It needs root.
type disk struct {
	t   *testing.T
	dir string
}

func newDisk(t *testing.T) *disk {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=256m"); err != nil {
		t.Skipf("a small disk of its own needs root: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	return &disk{t, dir}
}

func (d *disk) remount(flags uintptr) {
	d.t.Helper()
	if err := unix.Mount("", d.dir, "", unix.MS_REMOUNT|flags, ""); err != nil {
		d.t.Fatal(err)
	}
}

func (d *disk) fill() {
	d.t.Helper()
	f, err := os.Create(filepath.Join(d.dir, "ballast"))
	if err == nil {
		err = syscall.Fallocate(int(f.Fd()), 0, 0, free(d.dir)-1<<20)
	}
	if err != nil {
		d.t.Fatal(err)
	}
	f.Close()
}

func (d *disk) empty() {
	d.t.Helper()
	if err := os.Remove(filepath.Join(d.dir, "ballast")); err != nil {
		d.t.Fatal(err)
	}
}

func put(t *testing.T, s *Badger, key, val string) {
	t.Helper()
	if err := s.Put(t.Context(), []byte(key), []byte(val), time.Hour); err != nil {
		t.Fatalf("%s: %v", key, err)
	}
}

func has(t *testing.T, s *Badger, key, want string) {
	t.Helper()
	val, err := s.Get(t.Context(), []byte(key))
	if want == "" && !errors.Is(err, guard.ErrNotFound) || want != "" && string(val) != want {
		t.Errorf("%s is %q (%v), want %q", key, val, err, want)
	}
}

// crashed makes a store in dir as a killed process leaves it: with logs of what was
// in memory that end in nothing. Half of it is in tables.
func crashed(t *testing.T, dir string) {
	t.Helper()
	s, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, "a/r/alice", "old")
	put(t, s, "a/r/carol", "removed later")
	put(t, s, "b/192.0.2.1", "banned")
	for i := range 3000 {
		put(t, s, fmt.Sprintf("h/%012d", i), strings.Repeat("x", 1000))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = Open(dir, Options{}); err != nil {
		t.Fatal(err)
	}
	put(t, s, "a/r/alice", "new")
	put(t, s, "c/call", "up")
	for _, k := range []string{"a/r/carol", "b/none"} {
		if err := s.Delete(t.Context(), []byte(k)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Batch(t.Context(), []guard.Item{{Key: []byte("c/one"), Value: []byte("1")}, {Key: []byte("c/two"), Value: []byte("2")}}, nil); err != nil {
		t.Fatal(err)
	}
	away := dir + ".crashed"
	if err := os.CopyFS(away, os.DirFS(dir)); err != nil { // before it is closed
		t.Fatal(err)
	}
	if err := errors.Join(s.Close(), os.RemoveAll(dir), os.Rename(away, dir)); err != nil {
		t.Fatal(err)
	}
}

func holdsWhatWasThere(t *testing.T, s *Badger) {
	t.Helper()
	has(t, s, "a/r/alice", "new")
	has(t, s, "a/r/carol", "")
	has(t, s, "b/192.0.2.1", "banned")
	has(t, s, "c/call", "up")
	has(t, s, "c/one", "1")
	has(t, s, "c/two", "2")
}

var inMemory = Options{Memory: 256 << 20}

// What Badger reads of a store that was not closed is what is read without it.
func TestReadIsWhatBadgerReads(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	crashed(t, dir)
	read, err := inMemory.read(dir)
	if err != nil || !read.whole {
		t.Fatal(read, err)
	}
	s, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	n := 0
	err = each(t.Context(), s.at.Load().db, true, func(i *badger.Item) error {
		if isHistory(i.Key()) {
			return nil
		}
		n++
		val, err := i.ValueCopy(nil)
		if r := read.newest[string(i.Key())]; string(r.val) != string(val) || r.expires != i.ExpiresAt() || r.version != i.Version() {
			t.Errorf("%q: %+v, %q until %d, version %d", i.Key(), r, val, i.ExpiresAt(), i.Version())
		}
		return err
	})
	if err != nil || n != len(read.newest) || n < 5 {
		t.Errorf("%d are there and %d were read: %v", n, len(read.newest), err)
	}
}

// A disk that cannot be written: what is on it holds, what is decided holds, and
// both are on it once it can be written again.
func TestOutage(t *testing.T) {
	for name, c := range map[string]struct {
		start, end func(*disk)
		do         string
	}{
		"full":      {(*disk).fill, (*disk).empty, "make room"},
		"read only": {func(d *disk) { d.remount(unix.MS_RDONLY) }, func(d *disk) { d.remount(0) }, "mount it writable"},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDisk(t)
			dir := filepath.Join(d.dir, "store")
			crashed(t, dir)
			c.start(d)
			if s, err := Open(dir, Options{}); err == nil {
				s.Close()
				t.Error("it opens for writing")
			}
			s, err := Open(dir, inMemory)
			if err != nil {
				t.Fatal(err)
			}
			out := s.Outage()
			if out == nil || out.Left != nil || !strings.Contains(out.Do, c.do) {
				t.Fatalf("%+v", out)
			}
			holdsWhatWasThere(t, s)
			put(t, s, "a/r/dora", "made meanwhile")
			put(t, s, "h/999999999999", "decided meanwhile")
			if err := s.Delete(t.Context(), []byte("c/call")); err != nil {
				t.Fatal(err)
			}
			s.back(t.Context())
			if s.Outage() == nil {
				t.Fatal("it is back too early")
			}
			c.end(d)
			s.back(t.Context())
			if out := s.Outage(); out != nil {
				t.Fatalf("it does not come back: %+v", out)
			}
			put(t, s, "a/r/emil", "made after")
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if s, err = Open(dir, Options{}); err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			has(t, s, "a/r/alice", "new")
			has(t, s, "a/r/carol", "")
			has(t, s, "b/192.0.2.1", "banned")
			has(t, s, "c/call", "")
			has(t, s, "a/r/dora", "made meanwhile")
			has(t, s, "a/r/emil", "made after")
			has(t, s, "h/999999999999", "decided meanwhile")
			has(t, s, "h/000000000007", strings.Repeat("x", 1000))
		})
	}
}

// Set aside is only what can be, and the daemon goes on either way.
func TestDamagedAndNotWritable(t *testing.T) {
	d := newDisk(t)
	dir := filepath.Join(d.dir, "store")
	crashed(t, dir)
	if err := os.WriteFile(filepath.Join(dir, "MANIFEST"), []byte("none"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ start, end func(*disk) }{
		{func(d *disk) { d.remount(unix.MS_RDONLY) }, func(d *disk) { d.remount(0) }},
		{(*disk).fill, (*disk).empty},
	} {
		c.start(d)
		o := inMemory
		o.Now = time.Now
		s, err := Open(dir, o)
		if err != nil {
			t.Fatal(err)
		}
		if out := s.Outage(); out == nil || out.Left == nil || out.Read != 0 || s.SetAside() != "" {
			t.Errorf("%+v", out)
		}
		put(t, s, "a/r/dora", "made meanwhile")
		c.end(d)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	d.fill()
	o := inMemory
	o.Now = time.Now
	s, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	put(t, s, "a/r/dora", "made meanwhile")
	d.empty()
	s.back(t.Context())
	if s.Outage() != nil || s.SetAside() == "" {
		t.Errorf("%+v, aside %q", s.Outage(), s.SetAside())
	}
	has(t, s, "a/r/dora", "made meanwhile")
}

// Another process stays an error, on a full disk too.
func TestLockedOnAFullDisk(t *testing.T) {
	d := newDisk(t)
	dir := filepath.Join(d.dir, "store")
	s, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	d.fill()
	if _, err := Open(dir, inMemory); !errors.Is(err, errLocked) {
		t.Error(err)
	}
}

// A directory that cannot even be made.
func TestNothingOnAReadOnlyDisk(t *testing.T) {
	d := newDisk(t)
	d.remount(unix.MS_RDONLY)
	s, err := Open(filepath.Join(d.dir, "state", "store"), inMemory)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if out := s.Outage(); out == nil || out.Left != nil || out.Read != 0 {
		t.Errorf("%+v", out)
	}
	put(t, s, "b/192.0.2.9", "banned")
}

// Who reads and writes while the store moves sees no difference, and nothing of it
// is lost.
func TestMoveUnderLoad(t *testing.T) {
	d := newDisk(t)
	dir := filepath.Join(d.dir, "store")
	d.fill()
	s, err := Open(dir, inMemory)
	if err != nil {
		t.Fatal(err)
	}
	const before, writers = 5000, 4
	for i := range before {
		put(t, s, fmt.Sprintf("b/%05d", i), "x")
	}
	d.empty()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wrote := make([]int, writers)
	for w := range writers {
		wg.Go(func() {
			for ; ctx.Err() == nil; wrote[w]++ {
				key := fmt.Appendf(nil, "c/%d/%d", w, wrote[w])
				if err := s.Put(t.Context(), key, []byte("y"), time.Hour); err != nil {
					t.Error(err)
					return
				}
				for _, err := range s.Scan(t.Context(), key, false) { // in a scan the store is asked again
					if err != nil {
						t.Error(err)
					}
					if _, err := s.Get(t.Context(), key); err != nil {
						t.Error(err)
					}
				}
				if err := s.Delete(t.Context(), fmt.Appendf(nil, "b/%05d", w*1000+wrote[w])); wrote[w] < 1000 && err != nil {
					t.Error(err)
				}
			}
		})
	}
	s.back(t.Context())
	cancel()
	wg.Wait()
	if out := s.Outage(); out != nil {
		t.Fatalf("%+v", out)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = Open(dir, Options{}); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	want := before
	for w := range writers {
		want += wrote[w]
		for i := range wrote[w] {
			if k := fmt.Sprintf("c/%d/%d", w, i); i%97 == 0 || i == wrote[w]-1 {
				has(t, s, k, "y")
			}
			if i < 1000 {
				want--
				has(t, s, fmt.Sprintf("b/%05d", w*1000+i), "")
			}
		}
	}
}

// Memory is bounded: history stops first, then everything.
func TestMemoryIsBounded(t *testing.T) {
	d := newDisk(t)
	d.fill()
	o := inMemory
	o.Memory = 64 << 20
	s, err := Open(filepath.Join(d.dir, "store"), o)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	val := make([]byte, 64<<10)
	fill := func(prefix string) int {
		for i := range 4096 {
			rand.Read(val) // what Snappy makes nothing of
			if err := s.Put(t.Context(), fmt.Appendf(nil, "%s%012d", prefix, i), val, time.Hour); errors.Is(err, ErrFull) {
				return i
			} else if err != nil {
				t.Fatal(err)
			}
		}
		t.Fatalf("%s has no end", prefix)
		return 0
	}
	h := fill("h/")
	put(t, s, "b/192.0.2.1", "banned")
	if c := fill("c/"); h == 0 || c == 0 {
		t.Errorf("%d of history, %d of others", h, c)
	}
	if size := s.Size(); size > o.Memory {
		t.Errorf("%d bytes of %d", size, o.Memory)
	}
}

// FuzzReplay reads any log, and of one that is cut no more than of the whole.
func FuzzReplay(f *testing.F) {
	dir := filepath.Join(f.TempDir(), "store")
	s, err := Open(dir, Options{})
	if err != nil {
		f.Fatal(err)
	}
	for _, k := range []string{"a/x", "b/y", "c/z"} {
		if err := s.Put(f.Context(), []byte(k), []byte("value of "+k), time.Hour); err != nil {
			f.Fatal(err)
		}
	}
	logs, _ := filepath.Glob(filepath.Join(dir, "*.mem"))
	for _, name := range logs {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text[:min(4096, len(text))], uint16(100))
	}
	if err := s.Close(); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, log []byte, cut uint16) {
		whole, part := 0, 0
		replay(log, func(record) { whole++ })
		replay(log[:min(int(cut), len(log))], func(record) { part++ })
		if part > whole {
			t.Errorf("%d of a part, %d of the whole", part, whole)
		}
	})
}
