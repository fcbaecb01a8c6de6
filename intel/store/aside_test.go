package store

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"ringfence/guard"
)

// Whatever happens to the files of a store: it opens, with what it had or empty and
// saying so, and never with a part of it in silence.
func TestDamagedStores(t *testing.T) {
	ctx := context.Background()
	spoil := map[string]func(t *testing.T, file string, text []byte) []byte{
		"cut short":   func(_ *testing.T, _ string, text []byte) []byte { return text[:min(7, len(text))] },
		"cut in half": func(_ *testing.T, _ string, text []byte) []byte { return text[:len(text)/2] },
		"garbage in front": func(_ *testing.T, _ string, text []byte) []byte {
			return append(bytes.Repeat([]byte{0xa5}, min(512, len(text))), text[min(512, len(text)):]...)
		},
		"garbage in the middle": func(_ *testing.T, _ string, text []byte) []byte {
			copy(text[len(text)/2:], bytes.Repeat([]byte{0xa5}, 64))
			return text
		},
		"gone": func(*testing.T, string, []byte) []byte { return nil },
	}
	for name, f := range spoil {
		for _, pattern := range []string{"*.sst", "MANIFEST"} {
			t.Run(pattern+" "+name, func(t *testing.T) {
				dir := filepath.Join(t.TempDir(), "store")
				o := Options{Now: time.Now}
				s, err := Open(dir, o)
				if err != nil {
					t.Fatal(err)
				}
				for i := range 2000 {
					key := []byte{'b', '/', byte(i >> 8), byte(i)}
					if err := s.Batch(ctx, []guard.Item{{Key: key, Value: bytes.Repeat(key, 20)}}, nil); err != nil {
						t.Fatal(err)
					}
				}
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				files, _ := filepath.Glob(filepath.Join(dir, pattern))
				if len(files) == 0 {
					t.Fatal("there is no such file")
				}
				text, err := os.ReadFile(files[0])
				if err != nil {
					t.Fatal(err)
				}
				if text = f(t, files[0], text); text == nil {
					err = os.Remove(files[0])
				} else {
					err = os.WriteFile(files[0], text, 0o600)
				}
				if err != nil {
					t.Fatal(err)
				}
				if s, err = Open(dir, o); err != nil {
					t.Fatal(err)
				}
				defer s.Close()
				n := 0
				for _, err := range s.Scan(ctx, []byte("b/"), false) {
					if err != nil {
						t.Fatal(err)
					}
					n++
				}
				switch aside := s.SetAside(); {
				case aside == "" && n != 2000:
					t.Errorf("%d of 2000 are left, and nobody says so", n)
				case aside != "" && n != 0:
					t.Errorf("it is set aside, and has %d", n)
				case aside != "":
					if _, err := os.Stat(aside); err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
}

// Stores that are set aside do not fill the disk.
func TestFewStoresAreKeptAside(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	clock := time.Unix(1e9, 0)
	for range 5 {
		clock = clock.Add(time.Hour)
		s, err := Open(dir, Options{Now: func() time.Time { return clock }})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "MANIFEST"), []byte("none"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if all, _ := filepath.Glob(dir + asideMark + "*"); len(all) != asides {
		t.Errorf("kept: %v", all)
	}
}
