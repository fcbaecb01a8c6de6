package record

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"iter"
	"net/netip"
	"strings"
	"time"

	"ringfence/guard"
)

// Keys: h/TIME SEQ is an entry; h/ comes first so that the oldest go first when
// room is short. i/KIND VALUE NUL TIME SEQ points at it, for questions by
// source, account, Call-ID and rule.
const (
	entries = "h/"
	indexes = "i/"
)

func (r *Recorder) keep(ctx context.Context, batch []*Entry) error {
	items := make([]guard.Item, 0, len(batch)*4)
	for _, e := range batch {
		text, err := json.Marshal(e)
		if err != nil {
			return fmt.Errorf("history: %w", err)
		}
		expires := e.At.Add(r.o.Keep)
		stamp := binary.BigEndian.AppendUint64(nil, uint64(e.At.UnixNano()))
		stamp = binary.BigEndian.AppendUint32(stamp, r.seq.Add(1))
		items = append(items, guard.Item{Key: append([]byte(entries), stamp...), Value: text, Expires: expires})
		for _, k := range pointers(e) {
			items = append(items, guard.Item{Key: append(k, stamp...), Expires: expires})
		}
	}
	return r.o.Store.Batch(ctx, items, nil)
}

func pointers(e *Entry) [][]byte {
	out := [][]byte{pointer('s', host(e.Source))}
	add := func(kind byte, value string) {
		if value != "" {
			out = append(out, pointer(kind, value))
		}
	}
	add('c', e.CallID)
	add('a', e.Account)
	if e.From != e.Account {
		add('a', e.From)
	}
	if e.To != e.From && e.To != e.Account {
		add('a', e.To)
	}
	if e.Rule != "" {
		add('r', e.Rule)
	}
	for _, m := range e.Matches {
		if m.Rule != e.Rule {
			add('r', m.Rule)
		}
	}
	return out
}

func host(source string) string {
	if ap, err := netip.ParseAddrPort(source); err == nil {
		return ap.Addr().Unmap().String()
	}
	return source
}

// pointer is the key before the time; values are cut so that keys stay short.
func pointer(kind byte, value string) []byte {
	if len(value) > 128 {
		value = value[:128]
	}
	k := append([]byte(indexes), kind)
	k = append(k, strings.ReplaceAll(value, "\x00", "")...)
	return append(k, 0)
}

// A Query asks history. Empty fields do not matter.
type Query struct {
	Since, Until time.Time
	Source       string // an address
	Account      string // user@host: the account, or From or To
	CallID       string
	Rule         string
	Mode         string // of a match
	Limit        int    // default 100
}

// Search goes over what a query asks for, newest first.
func (r *Recorder) Search(ctx context.Context, q Query) iter.Seq2[Entry, error] {
	if q.Limit <= 0 {
		q.Limit = 100
	}
	if a, err := netip.ParseAddr(q.Source); err == nil {
		q.Source = a.Unmap().String()
	}
	q.CallID, q.Account = cut(q.CallID, longest), cut(q.Account, longest)
	prefix := []byte(entries)
	switch {
	case q.CallID != "":
		prefix = pointer('c', q.CallID)
	case q.Source != "":
		prefix = pointer('s', q.Source)
	case q.Account != "":
		prefix = pointer('a', q.Account)
	case q.Rule != "":
		prefix = pointer('r', q.Rule)
	}
	return func(yield func(Entry, error) bool) {
		found, looks := 0, 0
		for item, err := range r.o.Store.Scan(ctx, prefix, true) {
			if err != nil {
				yield(Entry{}, err)
				return
			}
			if looks++; looks > r.o.Looks {
				yield(Entry{}, fmt.Errorf("history: %d entries were looked at: ask for less", r.o.Looks))
				return
			}
			stamp := item.Key[len(prefix):]
			if len(stamp) != 12 {
				continue
			}
			at := time.Unix(0, int64(binary.BigEndian.Uint64(stamp)))
			if !q.Until.IsZero() && at.After(q.Until) {
				continue
			}
			if !q.Since.IsZero() && at.Before(q.Since) {
				return
			}
			text := item.Value
			if !bytes.HasPrefix(item.Key, []byte(entries)) {
				if text, err = r.o.Store.Get(ctx, append([]byte(entries), stamp...)); err != nil {
					continue // it went before its pointer
				}
			}
			var e Entry
			if err := json.Unmarshal(text, &e); err != nil {
				yield(Entry{}, fmt.Errorf("history: an entry is damaged: %w", err))
				return
			}
			if !q.wants(&e) {
				continue
			}
			if !yield(e, nil) {
				return
			}
			if found++; found == q.Limit {
				return
			}
		}
	}
}

func (q *Query) wants(e *Entry) bool {
	if q.Source != "" && host(e.Source) != q.Source || q.CallID != "" && e.CallID != q.CallID {
		return false
	}
	if q.Account != "" && e.Account != q.Account && e.From != q.Account && e.To != q.Account {
		return false
	}
	if q.Rule == "" && q.Mode == "" {
		return true
	}
	if q.Rule == e.Rule && q.Mode == "" {
		return true
	}
	for _, m := range e.Matches {
		if (q.Rule == "" || m.Rule == q.Rule) && (q.Mode == "" || m.Mode == q.Mode) {
			return true
		}
	}
	return false
}
