package transaction

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"encoding/hex"
)

// magic begins every branch of ours: the cookie of RFC 3261 section 8.1.1.7 and
// two letters to tell ours from others' without decrypting.
const magic = "z9hG4bKrf"

// BranchLen is the length of our branches in bytes.
const BranchLen = len(magic) + 2*aes.BlockSize

// An ID names one client transaction while it lives.
type ID struct {
	Slot       uint32
	Generation uint32
	Client     uint8
}

// A Branch makes and reads branches. A branch is one AES block: where the
// transaction lies, and a hash of the request for loop detection. Who does not
// know the key can neither read it nor make one that leads anywhere: a guess
// opens once in 2^24, and then hits a living slot of the right generation once
// in 2^64. It has scratch
// memory of its own: one goroutine uses it at a time.
type Branch struct {
	block cipher.Block
	plain [aes.BlockSize]byte
	coded [aes.BlockSize]byte
}

// NewBranch makes a Branch from a secret.
func NewBranch(key [32]byte) *Branch {
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic(err) // the length is right
	}
	return &Branch{block: block}
}

// Append appends the branch of a client transaction. Of loop 32 bits are kept.
func (b *Branch) Append(dst []byte, id ID, loop uint64) []byte {
	binary.BigEndian.PutUint32(b.plain[0:], id.Slot)
	binary.BigEndian.PutUint32(b.plain[4:], id.Generation)
	binary.BigEndian.PutUint32(b.plain[8:], uint32(id.Client)<<24) // and three bytes that are zero
	binary.BigEndian.PutUint32(b.plain[12:], uint32(loop))
	b.block.Encrypt(b.coded[:], b.plain[:])
	return hex.AppendEncode(append(dst, magic...), b.coded[:])
}

// Open reads a branch. False: it is not one of ours. What it says must still be
// looked up; see Table.Find.
func (b *Branch) Open(branch []byte) (id ID, loop uint64, ok bool) {
	if len(branch) != BranchLen || string(branch[:len(magic)]) != magic {
		return ID{}, 0, false
	}
	if _, err := hex.Decode(b.coded[:], branch[len(magic):]); err != nil {
		return ID{}, 0, false
	}
	b.block.Decrypt(b.plain[:], b.coded[:])
	if b.plain[9]|b.plain[10]|b.plain[11] != 0 {
		return ID{}, 0, false
	}
	id = ID{
		Slot:       binary.BigEndian.Uint32(b.plain[0:]),
		Generation: binary.BigEndian.Uint32(b.plain[4:]),
		Client:     b.plain[8],
	}
	return id, uint64(binary.BigEndian.Uint32(b.plain[12:])), true
}
