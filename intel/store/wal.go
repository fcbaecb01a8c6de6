package store

import (
	"encoding/binary"
	"hash/crc32"
	"strconv"
)

// The log of a table in memory (*.mem) as Badger 4 writes it: twenty octets of key
// and vector for encryption, which this store does not use, and then entries: two
// octets of marks, three varints (length of the key, length of the value, expiry),
// key, value, and the CRC-32C of all that. The last eight octets of a key are its
// version. A transaction of several entries ends in one that names its version.
const (
	walHead     = 20
	versionSize = 8

	markDeleted = 1 << 0
	markPointer = 1 << 1 // the value is in a value log
	markPart    = 1 << 6 // of a transaction
	markEnd     = 1 << 7 // of a transaction
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// A record is one version of one key.
type record struct {
	key, val []byte
	version  uint64
	expires  uint64 // Unix time, 0: never
	deleted  bool
	pointer  bool // val is no value but says where one is
}

// replay gives the records of a log to f, up to the first that is not whole: so far
// the log was written.
func replay(log []byte, f func(record)) {
	if len(log) < walHead {
		return
	}
	log = log[walHead:]
	var open []record // of a transaction that has not ended
	for {
		r, marks, size := next(log)
		if size == 0 {
			return
		}
		log = log[size:]
		switch {
		case marks&markPart != 0:
			if len(open) > 0 && open[0].version != r.version {
				return
			}
			open = append(open, r)
		case marks&markEnd != 0:
			version, err := strconv.ParseUint(string(r.val), 10, 64)
			if err != nil || len(open) == 0 || open[0].version != version {
				return
			}
			for _, o := range open {
				f(o)
			}
			open = open[:0]
		case len(open) > 0:
			return
		default:
			f(r)
		}
	}
}

// next is the first record of a log and how long it is there; 0 where there is none.
func next(log []byte) (r record, marks byte, size int) {
	if len(log) < 2 {
		return r, 0, 0
	}
	marks = log[0]
	at := 2
	var numbers [3]uint64
	for i := range numbers {
		v, n := binary.Uvarint(log[at:])
		if n <= 0 {
			return r, 0, 0
		}
		numbers[i], at = v, at+n
	}
	klen, vlen := numbers[0], numbers[1]
	left := uint64(len(log) - at) // #nosec G115 -- at is within log
	if klen < versionSize || klen > 1<<16 || vlen > left || klen+vlen+crc32.Size > left {
		return r, 0, 0
	}
	key := log[at : at+int(klen)]
	end := at + int(klen+vlen) // #nosec G115 -- within log
	if crc32.Checksum(log[:end], castagnoli) != binary.BigEndian.Uint32(log[end:]) {
		return r, 0, 0
	}
	r = record{
		key: key[:klen-versionSize], val: log[at+int(klen) : end], version: versionOf(key), expires: numbers[2],
		deleted: marks&markDeleted != 0, pointer: marks&markPointer != 0,
	}
	return r, marks, end + crc32.Size
}

// versionOf is what the end of a key says; newer versions sort first.
func versionOf(key []byte) uint64 {
	return ^binary.BigEndian.Uint64(key[len(key)-versionSize:])
}
