package index

import "slices"

// A Splice collects edits of a message's bytes and writes the edited message:
// what was not edited leaves exactly as it was judged. The zero Splice is
// ready; Reset makes it so again. Edits may come in any order and should not
// overlap. If they do, nothing is lost or written twice: the bytes taken out
// are those that any edit takes out, and every text is written, in the order
// of the places where the edits begin.
type Splice struct {
	few   [fewEdits]edit
	count int
	more  []edit // all edits, once there are more than fewEdits
}

// fewEdits is how many edits fit without a slice. A proxied request needs about
// ten; the rest is for messages with many header lines to take out.
const fewEdits = 48

// An edit puts text in place of the bytes from from to to.
type edit struct {
	from, to uint16
	text     []byte
}

// Reset forgets all edits.
func (s *Splice) Reset() {
	clear(s.few[:s.count])
	s.count = 0
	clear(s.more)
	s.more = s.more[:0]
}

// Replace puts text in place of the span. text must stay valid until AppendTo.
func (s *Splice) Replace(at Span, text []byte) {
	if at.To < at.From {
		at.To = at.From
	}
	s.add(edit{at.From, at.To, text})
}

// Insert puts text before the byte at offset at; several inserts at one place
// come out in the order in which they were made.
func (s *Splice) Insert(at uint16, text []byte) { s.add(edit{at, at, text}) }

// Delete takes the span out.
func (s *Splice) Delete(at Span) { s.Replace(at, nil) }

// add keeps the edits in order of place. Most come in that order or nearly so.
func (s *Splice) add(e edit) {
	if len(s.more) == 0 && s.count < fewEdits {
		s.count++
		place(s.few[:s.count], e)
		return
	}
	if len(s.more) == 0 {
		s.more = append(s.more, s.few[:s.count]...)
	}
	s.more = append(s.more, edit{})
	place(s.more, e)
}

// place moves e from the end of the list to behind the last edit that begins
// no later.
func place(list []edit, e edit) {
	i := len(list) - 1
	for i > 0 && list[i-1].from > e.from {
		list[i] = list[i-1]
		i--
	}
	list[i] = e
}

// AppendTo writes raw with all edits to dst and returns the extended slice.
func (s *Splice) AppendTo(dst, raw []byte) []byte {
	edits := s.few[:s.count]
	if len(s.more) > 0 {
		edits = s.more
	}
	dst = slices.Grow(dst, len(raw))
	at := 0
	for i := range edits {
		e := &edits[i]
		if from := min(int(e.from), len(raw)); from > at {
			dst = append(dst, raw[at:from]...)
			at = from
		}
		dst = append(dst, e.text...)
		at = max(at, min(int(e.to), len(raw)))
	}
	return append(dst, raw[at:]...)
}
