package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"ringfence/guard"
)

func TestMain(m *testing.M) {
	// A Badger that does not open leaves these behind, once in the life of a daemon.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/dgraph-io/ristretto/v2/z.(*AllocatorPool).freeupAllocators"),
		goleak.IgnoreAnyFunction("github.com/dgraph-io/badger/v4.(*DB).monitorCache"))
}

func open1(t *testing.T, dir string, o Options) *Badger {
	t.Helper()
	s, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func past(i int) []byte {
	k := binary.BigEndian.AppendUint64(nil, uint64(1_800_000_000_000_000_000+i))
	return binary.BigEndian.AppendUint32(k, uint32(i))
}

func count(t *testing.T, s *Badger, prefix string) (n int) {
	t.Helper()
	for _, err := range s.Scan(t.Context(), []byte(prefix), false) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	return n
}

func TestReadWrite(t *testing.T) {
	s := open1(t, t.TempDir(), Options{})
	ctx := t.Context()
	if _, err := s.Get(ctx, []byte("x")); !errors.Is(err, guard.ErrNotFound) {
		t.Fatalf("got %v", err)
	}
	for _, k := range []string{"p/a", "p/b", "p/\xff\xff", "q/a"} {
		if err := s.Put(ctx, []byte(k), []byte("v"+k), time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for i, err := range s.Scan(ctx, []byte("p/"), true) {
		if err != nil || i.Expires.IsZero() {
			t.Fatal(i, err)
		}
		got = append(got, string(i.Key))
	}
	if want := "[p/\xff\xff p/b p/a]"; fmt.Sprint(got) != want {
		t.Fatalf("got %q, want %q", got, want)
	}
	if err := s.Update(ctx, []byte("p/a"), func([]byte) ([]byte, time.Duration, error) { return nil, 0, nil }); err != nil {
		t.Fatal(err)
	}
	if n := count(t, s, "p/"); n != 2 {
		t.Fatalf("%d keys left", n)
	}
}

func TestLockedDirectory(t *testing.T) {
	dir := t.TempDir()
	open1(t, dir, Options{})
	if _, err := Open(dir, Options{}); err == nil || !strings.Contains(err.Error(), "another ringfence holds it") || strings.Contains(err.Error(), "\n") {
		t.Fatalf("got %v", err)
	}
}

func TestNewerSchemaIsRefused(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	err = s.at.Load().db.Update(func(tx *badger.Txn) error { return tx.Set(schemaKey, binary.BigEndian.AppendUint32(nil, schema+1)) })
	if err := errors.Join(err, s.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, Options{}); err == nil || !strings.Contains(err.Error(), "newer ringfence") {
		t.Fatalf("got %v", err)
	}
}

// TestBatch puts and deletes, each item with its own end.
func TestBatch(t *testing.T) {
	s := open1(t, t.TempDir(), Options{})
	if err := s.Put(t.Context(), []byte("d/old"), []byte("x"), time.Hour); err != nil {
		t.Fatal(err)
	}
	until := time.Now().Add(time.Hour).Truncate(time.Second)
	put := []guard.Item{{Key: []byte("d/1"), Value: []byte("a"), Expires: until}, {Key: []byte("d/2"), Value: []byte("b")}, {Key: []byte("d/3"), Expires: time.Now().Add(-time.Second)}}
	if err := s.Batch(t.Context(), put, [][]byte{[]byte("d/old"), []byte("d/never")}); err != nil {
		t.Fatal(err)
	}
	var got []guard.Item
	for i, err := range s.Scan(t.Context(), []byte("d/"), false) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, guard.Item{Key: bytes.Clone(i.Key), Value: bytes.Clone(i.Value), Expires: i.Expires})
	}
	if !reflect.DeepEqual(got, put[:2]) {
		t.Errorf("got %v, want %v", got, put[:2])
	}
}

// TestForget removes the oldest with their pointers, and nothing else.
func TestForget(t *testing.T) {
	s := open1(t, t.TempDir(), Options{})
	for i := range 1000 {
		until := time.Now().Add(time.Hour)
		err := s.Batch(t.Context(), []guard.Item{
			{Key: append([]byte("h/"), past(i)...), Value: []byte("x"), Expires: until},
			{Key: append([]byte("i/s192.0.2.1\x00"), past(i)...), Expires: until},
			{Key: append([]byte("i/rscan\x00"), past(i)...), Expires: until},
		}, nil)
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Put(t.Context(), []byte("b/1"), []byte("ban"), time.Hour); err != nil {
		t.Fatal(err)
	}
	if gone, err := s.at.Load().forget(t.Context(), 10); gone != 100 || err != nil {
		t.Fatalf("%d gone, %v; want a tenth", gone, err)
	}
	if h, i, b := count(t, s, "h/"), count(t, s, "i/"), count(t, s, "b/"); h != 900 || i != 1800 || b != 1 {
		t.Fatalf("%d entries, %d pointers, %d bans left", h, i, b)
	}
	for i, err := range s.Scan(t.Context(), history, false) {
		if err != nil || !bytes.Equal(i.Key[2:], past(100)) {
			t.Fatal("the oldest are not those that went", err)
		}
		break
	}
}

func TestOverQuota(t *testing.T) {
	s := open1(t, t.TempDir(), Options{Quota: 1})
	put := func(k string) error { return s.Put(t.Context(), []byte(k), []byte("x"), time.Hour) }
	if err := errors.Join(put("h/"+string(past(1))), s.tidy(t.Context())); err != nil || count(t, s, "h/") != 0 {
		t.Fatal("history is kept over the quota", err)
	}
	if err := s.tidy(t.Context()); err != nil { // nothing left to go
		t.Fatal(err)
	}
	if !errors.Is(put("h/2"), ErrFull) || !errors.Is(put("i/2"), ErrFull) || s.Dropped() != 2 {
		t.Fatalf("history is taken; %d dropped", s.Dropped())
	}
	if err := put("b/1"); err != nil {
		t.Fatalf("a ban must find room over the quota: %v", err)
	}
}

func TestRunEnds(t *testing.T) {
	s := open1(t, t.TempDir(), Options{Tidy: time.Millisecond})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// TestFullDisk fills a disk of its own: history stops first, then everything,
// each with an error, and both come back.
func TestFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting a small disk needs root")
	}
	disk := t.TempDir()
	if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "size=192m"); err != nil {
		t.Skip("no small disk here:", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(disk, 0); err != nil {
			t.Error(err)
		}
	})
	s := open1(t, filepath.Join(disk, "store"), Options{})
	value := bytes.Repeat([]byte("0123456789abcdef"), 4096)
	for i := range value {
		value[i] ^= byte(i * i >> 7)
	}
	wrote := 0
	for ; wrote < 10000; wrote++ {
		if err := s.Put(t.Context(), append([]byte("h/"), past(wrote)...), append(value, past(wrote)...), time.Hour); err != nil {
			if !errors.Is(err, ErrFull) {
				t.Fatal(err)
			}
			break
		}
	}
	if wrote == 10000 || s.Dropped() == 0 {
		t.Fatalf("%d values written, and the disk never filled", wrote)
	}
	if err := s.Put(t.Context(), []byte("b/1"), []byte("ban"), time.Hour); err != nil {
		t.Fatalf("a ban must find room in the reserve: %v", err)
	}
	filler := filepath.Join(disk, "filler")
	if err := os.WriteFile(filler, make([]byte, max(free(disk)-8<<20, 0)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Put(t.Context(), []byte("b/2"), []byte("ban"), time.Hour); !errors.Is(err, ErrFull) {
		t.Fatalf("got %v, want ErrFull", err)
	}
	if _, err := s.Get(t.Context(), []byte("b/1")); err != nil {
		t.Fatal("what is there must stay readable:", err)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	if err := s.Put(t.Context(), []byte("b/2"), []byte("ban"), time.Hour); err != nil {
		t.Fatal("there is room again:", err)
	}
}
