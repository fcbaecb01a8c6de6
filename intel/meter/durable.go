package meter

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"ringfence/guard"
)

// A durable meter is in the store in chunks: its seed, then its cells. With the
// seed every key is in the same set after a restart, so that a full table comes
// back whole.

// chunk and chunkDistinct are how many keys are written at once; an entry of
// the store has a bound.
const (
	chunk         = 4096
	chunkDistinct = 1024
)

const (
	seedSize      = 8
	cellSize      = 16 + 4*(slices+1)
	differentSize = 2*4*exact + 4 + 2*buckets + 8
)

// Run writes durable meters down until ctx ends, and once more then.
func (m *Meters) Run(ctx context.Context) error {
	t := time.NewTicker(m.o.Snapshot)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			m.snapshot(ctx)
		case <-ctx.Done():
			m.snapshot(context.WithoutCancel(ctx))
			return nil
		}
	}
}

func (m *Meters) snapshot(ctx context.Context) {
	if m.o.Store == nil {
		return
	}
	for _, t := range *m.list.Load() {
		if !t.spec.Durable {
			continue
		}
		if err := t.save(ctx, m.o.Store); err != nil {
			m.o.Log.Warn("a durable meter was not written", "meter", t.spec.Name, "error", err)
		}
	}
}

// save writes the cells in use in chunks, and takes away those that an earlier
// and larger snapshot left.
func (t *meter) save(ctx context.Context, s guard.Store) error {
	most := t.chunk() * t.size()
	out := make([]byte, 0, seedSize+most)
	n := 0
	put := func() error {
		err := s.Put(ctx, t.name(n), out, t.spec.Window+time.Hour)
		out, n = make([]byte, 0, seedSize+most), n+1 // the store may keep what it was given
		return err
	}
	for i := range t.cells {
		if len(out) == 0 {
			out = binary.LittleEndian.AppendUint64(out, t.seed)
		}
		if out = t.append(out, i); len(out) == seedSize+most {
			if err := put(); err != nil {
				return err
			}
		}
	}
	if len(out) > seedSize {
		if err := put(); err != nil {
			return err
		}
	}
	for ; n <= t.chunks(); n++ {
		if _, err := s.Get(ctx, t.name(n)); err != nil {
			return nil // there is none
		}
		if err := s.Delete(ctx, t.name(n)); err != nil {
			return err
		}
	}
	return nil
}

// append writes a cell, nothing for one that is not in use.
func (t *meter) append(out []byte, i int) []byte {
	lock := &t.locks[i/ways%shards]
	lock.Lock()
	defer lock.Unlock()
	c := &t.cells[i]
	if !c.used {
		return out
	}
	out = binary.LittleEndian.AppendUint64(out, c.key)
	out = binary.LittleEndian.AppendUint64(out, uint64(c.part))
	for _, n := range c.counts {
		out = binary.LittleEndian.AppendUint32(out, n)
	}
	if t.items == nil {
		return out
	}
	r := &t.items[i]
	for _, list := range [][exact]uint32{r.item, r.seen} {
		for _, n := range list {
			out = binary.LittleEndian.AppendUint32(out, n)
		}
	}
	out = binary.LittleEndian.AppendUint32(out, r.spill)
	out = append(append(out, r.half[0][:]...), r.half[1][:]...)
	return binary.LittleEndian.AppendUint64(out, uint64(r.turn))
}

func (t *meter) name(chunk int) []byte {
	return fmt.Appendf(nil, "m/%s/%016x/%04x", t.spec.Name, t.spec.Hash, chunk)
}

// size is the octets of one key in the store.
func (t *meter) size() int {
	if t.items != nil {
		return cellSize + differentSize
	}
	return cellSize
}

func (t *meter) chunk() int {
	if t.items != nil {
		return chunkDistinct
	}
	return chunk
}

func (t *meter) chunks() int { return (len(t.cells) + t.chunk() - 1) / t.chunk() }

// restore reads back what was saved into a meter that nobody uses yet.
func (m *Meters) restore(t *meter) {
	if m.o.Store == nil || !t.spec.Durable {
		return
	}
	for n := range t.chunks() {
		text, err := m.o.Store.Get(context.Background(), t.name(n))
		if err != nil {
			if !errors.Is(err, guard.ErrNotFound) {
				m.o.Log.Warn("a durable meter was not read back whole", "meter", t.spec.Name, "error", err)
			}
			return
		}
		if len(text) < seedSize || (len(text)-seedSize)%t.size() != 0 {
			m.o.Log.Warn("a durable meter begins anew: what is on disk is of another form", "meter", t.spec.Name)
			return
		}
		if n == 0 {
			t.seed = binary.LittleEndian.Uint64(text)
		}
		t.read(text[seedSize:])
	}
}

func (t *meter) read(text []byte) {
	for ; len(text) > 0; text = text[t.size():] {
		part := int64(binary.LittleEndian.Uint64(text[8:]))
		i, lock := t.find(binary.LittleEndian.Uint64(text), part*t.part, true)
		c := &t.cells[i]
		c.part = part
		for n := range c.counts {
			c.counts[n] = binary.LittleEndian.Uint32(text[16+4*n:])
		}
		if t.items != nil {
			t.items[i].read(text[cellSize:])
		}
		lock.Unlock()
	}
}

func (r *different) read(text []byte) {
	for n := range exact {
		r.item[n] = binary.LittleEndian.Uint32(text[4*n:])
		r.seen[n] = binary.LittleEndian.Uint32(text[4*(exact+n):])
	}
	text = text[2*4*exact:]
	r.spill = binary.LittleEndian.Uint32(text)
	copy(r.half[0][:], text[4:])
	copy(r.half[1][:], text[4+buckets:])
	r.turn = int64(binary.LittleEndian.Uint64(text[4+2*buckets:]))
}
