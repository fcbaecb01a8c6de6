package index

// A Splice collects edits of a message's bytes and writes the edited message:
// what was not edited leaves exactly as it was judged. The zero Splice is
// ready; Reset makes it so again. Edits may come in any order and must not
// overlap.
type Splice struct{}

// Reset forgets all edits.
func (s *Splice) Reset() {}

// Replace puts text in place of the span. text must stay valid until AppendTo.
func (s *Splice) Replace(at Span, text []byte) {}

// Insert puts text before the byte at offset at; several inserts at one place
// come out in the order in which they were made.
func (s *Splice) Insert(at uint16, text []byte) {}

// Delete takes the span out.
func (s *Splice) Delete(at Span) {}

// AppendTo writes raw with all edits to dst and returns the extended slice.
func (s *Splice) AppendTo(dst, raw []byte) []byte { return dst }
