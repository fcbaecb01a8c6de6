package rules

import (
	"fmt"
	"net/netip"
	"reflect"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// An ipVal is an address as CEL sees it. It is used by pointer and filled anew
// for every message, so that an address costs no allocation.
type ipVal struct{ addr netip.Addr }

// ConvertToNative is ref.Val's.
func (v *ipVal) ConvertToNative(t reflect.Type) (any, error) {
	if t.Kind() == reflect.String {
		return v.addr.String(), nil
	}
	return nil, fmt.Errorf("an address is no %s", t)
}

// ConvertToType is ref.Val's.
func (v *ipVal) ConvertToType(t ref.Type) ref.Val {
	if t == types.StringType {
		return types.String(v.addr.String())
	}
	return types.NewErr("an address is no %s", t.TypeName())
}

// Equal is ref.Val's.
func (v *ipVal) Equal(other ref.Val) ref.Val {
	o, ok := other.(*ipVal)
	return types.Bool(ok && o.addr == v.addr)
}

// Type is ref.Val's.
func (*ipVal) Type() ref.Type { return ipType }

// Value is ref.Val's.
func (v *ipVal) Value() any { return v.addr }

// toIP is ip("203.0.113.9").
func toIP(v ref.Val) ref.Val {
	text, ok := v.(types.String)
	if !ok {
		return types.MaybeNoSuchOverloadErr(v)
	}
	a, err := netip.ParseAddr(string(text))
	if err != nil {
		return types.NewErr("%q is no address", string(text))
	}
	return &ipVal{a.Unmap()}
}

// inNet is src.ip.in_net("203.0.113.0/24").
func inNet(v, net ref.Val) ref.Val {
	a, ok := v.(*ipVal)
	text, also := net.(types.String)
	if !ok || !also {
		return types.MaybeNoSuchOverloadErr(net)
	}
	p, err := netip.ParsePrefix(string(text))
	if err != nil {
		return types.NewErr("%q is no prefix", string(text))
	}
	return types.Bool(p.Contains(a.addr))
}
