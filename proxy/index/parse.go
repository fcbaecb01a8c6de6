package index

// Parse indexes raw as one message; stream tells that it came over a stream
// transport, where Content-Length is mandatory. It returns the first problem,
// or "". The message keeps raw, unless it had to be put into plain form.
func (m *Message) Parse(raw []byte, stream bool, l Limits) Problem { return "unwritten" }
