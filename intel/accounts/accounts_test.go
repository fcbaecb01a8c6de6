package accounts

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"ringfence/guard"
	"ringfence/intel/store"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("RINGFENCE_TEST_ACCOUNTS"); dir != "" {
		addForEver(dir)
	}
	os.Exit(m.Run())
}

func TestBook(t *testing.T) {
	s, err := store.Memory(store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx := t.Context()
	b, err := Open(ctx, s, Options{Max: 2})
	if err != nil {
		t.Fatal(err)
	}
	if b.Any() || b.Account("r", "alice") != nil {
		t.Fatal("an empty book has accounts")
	}
	ha1 := map[string]string{"MD5": "aa"}
	add := func(user string) error { return b.Add(ctx, guard.Account{User: user, Realm: "r", HA1: ha1}) }
	if err := errors.Join(add("bob"), add("alice")); err != nil {
		t.Fatal(err)
	}
	ha1["MD5"] = "changed"
	if got := b.Account("r", "alice"); got.HA1["MD5"] != "aa" || got.Created.IsZero() {
		t.Fatalf("got %+v", got)
	}
	before := b.Account("r", "alice")
	for want, err := range map[error]error{
		ErrExists: add("alice"), ErrFull: add("carol"), ErrNone: b.Remove(ctx, "r", "carol"), nil: b.Passwd(ctx, "r", "alice", map[string]string{"MD5": "bb"}),
	} {
		if !errors.Is(err, want) {
			t.Errorf("got %v, want %v", err, want)
		}
	}
	if err := b.Passwd(ctx, "r", "nobody", nil); !errors.Is(err, ErrNone) {
		t.Errorf("got %v", err)
	}
	for _, user := range []string{"", "a/b", "a b", "a\x1bb", "a\nb", `a"b`} {
		if add(user) == nil {
			t.Errorf("%q was added", user)
		}
	}
	if before.HA1["MD5"] != "aa" {
		t.Error("an account that somebody holds was changed")
	}
	if err := b.Remove(ctx, "r", "bob"); err != nil {
		t.Fatal(err)
	}
	again, err := Open(ctx, s, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if l := again.List(); len(l) != 1 || l[0].User != "alice" || l[0].HA1["MD5"] != "bb" {
		t.Fatalf("after the restart: %+v", l)
	}
	if n := testing.AllocsPerRun(1000, func() { again.Account("r", "alice") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// addForEver adds accounts, says which, and goes on until it is killed.
func addForEver(dir string) {
	s, err := store.Open(dir, store.Options{})
	if err != nil {
		panic(err)
	}
	b, err := Open(context.Background(), s, Options{})
	if err != nil {
		panic(err)
	}
	for i := 0; ; i++ {
		user := fmt.Sprint("user", i)
		if err := b.Add(context.Background(), guard.Account{User: user, Realm: "r"}); err != nil {
			panic(err)
		}
		fmt.Println(user)
	}
}

func TestAccountsSurviveKill(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), "RINGFENCE_TEST_ACCOUNTS="+dir)
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	var said []string
	for range 50 {
		var user string
		if _, err := fmt.Fscanln(out, &user); err != nil {
			t.Fatal(err)
		}
		said = append(said, user)
	}
	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := c.Wait(); err == nil {
		t.Fatal("it ended by itself")
	}
	s, err := store.Open(dir, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	b, err := Open(t.Context(), s, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, user := range said {
		if b.Account("r", user) == nil {
			t.Fatalf("%s was said to be on disk and is not", user)
		}
	}
}
