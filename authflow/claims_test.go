package authflow_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/authflow"
)

func TestDecodeClaims(t *testing.T) {
	deep := func(n int) string { return `{"a":` + strings.Repeat("[", n) + strings.Repeat("]", n) + `}` }
	tests := map[string]struct {
		data string
		ok   error
	}{
		"empty object":                     {`{}`, nil},
		"white space around":               {" {\n} \t", nil},
		"every type":                       {`{"s":"x","b":true,"n":1.5,"z":null,"a":[1,{}],"o":{"p":{}}}`, nil},
		"one name in two objects":          {`{"a":{"x":1},"b":{"x":1,"a":2}}`, nil},
		"31 arrays in an object":           {deep(31), nil},
		"names that only look alike":       {`{"sub":1,"ѕub":2}`, nil},
		"nothing":                          {``, authflow.ErrNotClaims},
		"array":                            {`[]`, authflow.ErrNotClaims},
		"null":                             {`null`, authflow.ErrNotClaims},
		"string":                           {`"{}"`, authflow.ErrNotClaims},
		"two objects":                      {`{}{}`, authflow.ErrNotClaims},
		"an object and a brace":            {`{}}`, authflow.ErrNotClaims},
		"cut off":                          {`{"a":1`, authflow.ErrNotClaims},
		"cut off in a name":                {`{"a`, authflow.ErrNotClaims},
		"comma before the end":             {`{"a":1,}`, authflow.ErrNotClaims},
		"comma before the end of an array": {`{"a":[1,]}`, authflow.ErrNotClaims},
		"no colon":                         {`{"a" 1}`, authflow.ErrNotClaims},
		"no comma":                         {`{"a":1 "b":2}`, authflow.ErrNotClaims},
		"name is a number":                 {`{1:1}`, authflow.ErrNotClaims},
		"comment":                          {`{/**/}`, authflow.ErrNotClaims},
		"NaN":                              {`{"a":NaN}`, authflow.ErrNotClaims},
		"byte order mark":                  {"\ufeff{}", authflow.ErrNotClaims},
		"invalid UTF-8":                    {"{\"a\":\"\xff\"}", authflow.ErrNotClaims},
		"member twice":                     {`{"iss":"a","iss":"b"}`, authflow.ErrNotClaims},
		"member twice, escaped":            {`{"iss":"a","\u0069ss":"b"}`, authflow.ErrNotClaims},
		"member twice in an object":        {`{"a":{"b":[{"c":1,"c":2}]}}`, authflow.ErrNotClaims},
		"folded: ASCII":                    {`{"sub":"a","SUB":"b"}`, authflow.ErrNotClaims},
		"folded: long s":                   {`{"sub":"a","ſub":"b"}`, authflow.ErrNotClaims},
		"folded: kelvin":                   {`{"kid":"a","\u212aid":"b"}`, authflow.ErrNotClaims},
		"folded: sigma":                    {`{"σ":"a","ς":"b"}`, authflow.ErrNotClaims},
		"folded further down":              {`{"a":{"Admin":false,"admin":true}}`, authflow.ErrNotClaims},
		"33 levels":                        {deep(32), authflow.ErrNotClaims},
		"a million levels":                 {strings.Repeat(`{"a":`, 1<<17), authflow.ErrNotClaims},
		"more than 1 MiB":                  {`{"a":"` + strings.Repeat("x", 1<<20) + `"}`, authflow.ErrNotClaims},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			claims, err := authflow.DecodeClaims([]byte(test.data))
			if !errors.Is(err, test.ok) {
				t.Errorf("%v, want %v", err, test.ok)
			}
			if (claims == nil) != (test.ok != nil) {
				t.Errorf("claims are %v with error %v", claims, err)
			}
		})
	}
}

func TestClaimsLookup(t *testing.T) {
	claims, err := authflow.DecodeClaims([]byte(`{
		"sub":"s", "null":null, "realm_access":{"roles":["a"]}, "realm_access.roles":["exact"], "a":{"b":{"c":1}},
		"https://example.com/roles":["ns"], "resource_access":{"my.app":{"roles":["dotted"]}}, "list":[{"x":1}]}`))
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		value any
		found bool
	}{
		"sub":                          {"s", true},
		"null":                         {nil, true},
		"realm_access.roles":           {[]any{"exact"}, true},
		"a.b.c":                        {json.Number("1"), true},
		"https://example.com/roles":    {[]any{"ns"}, true},
		"resource_access.my.app.roles": {[]any{"dotted"}, true},
		"Sub":                          {nil, false},
		"a.b.d":                        {nil, false},
		"a.b.c.d":                      {nil, false},
		"sub.x":                        {nil, false},
		"list.0":                       {nil, false},
		"":                             {nil, false},
		".":                            {nil, false},
	}
	for path, test := range tests {
		value, found := claims.Lookup(path)
		if found != test.found || !reflect.DeepEqual(value, test.value) {
			t.Errorf("%q is %v, %t, want %v, %t", path, value, found, test.value, test.found)
		}
	}
}

func TestClaimsString(t *testing.T) {
	claims := authflow.Claims{"a": "x", "empty": "", "null": nil, "n": json.Number("1")}
	for name, want := range map[string]error{
		"a": nil, "empty": nil, "A": authflow.ErrClaimAbsent, "b": authflow.ErrClaimAbsent,
		"null": authflow.ErrClaimMalformed, "n": authflow.ErrClaimMalformed,
	} {
		if _, err := claims.String(name); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
}

// TestClaimsTime: SEC-88.
func TestClaimsTime(t *testing.T) {
	for number, want := range map[string]int64{
		"0": 0, "1700000000": 1700000000, "2147483648": 1 << 31, "253402300799": 253402300799,
		"253402300800": -1, "9223372036854775807": -1, "9223372036854775808": -1, "18446744073709551617": -1,
		"1e300": -1, "1e3": -1, "-1": -1, "-0": -1, "1.5": -1, "1.0": -1, `"1700000000"`: -1, "null": -1, "[1]": -1, "true": -1,
	} {
		claims, err := authflow.DecodeClaims([]byte(`{"exp":` + number + `}`))
		if err != nil {
			t.Fatal(err)
		}
		got, err := claims.Time("exp")
		switch {
		case want == -1 && (!errors.Is(err, authflow.ErrClaimMalformed) || !got.IsZero()):
			t.Errorf("%s is %v, %v, want %v", number, got, err, authflow.ErrClaimMalformed)
		case want != -1 && (err != nil || !got.Equal(time.Unix(want, 0))):
			t.Errorf("%s is %v, %v, want %d", number, got, err, want)
		}
	}
	if _, err := authflow.Claims(nil).Time("exp"); !errors.Is(err, authflow.ErrClaimAbsent) {
		t.Errorf("absent: %v", err)
	}
}

// FuzzDecodeClaims: what is accepted means the same to encoding/json, and a
// struct's field never gets another value than the member of its name.
func FuzzDecodeClaims(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"sub":"a","SUB":"b"}`, `{"iss":"a","iss":"b"}`, `{"SUB":"b"}`, `{"a":{"b":[1,2.5e3,null,true]}}`,
		`{"ſub":"x"}`, "{\"\xff\":1}", `{"\ud800":1,"\udc00":2}`, `[1]`, `{"a":1}{}`, `{"a":[[[[[[[[[]]]]]]]]]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		claims, err := authflow.DecodeClaims(data)
		if err != nil {
			if !errors.Is(err, authflow.ErrNotClaims) || claims != nil {
				t.Fatalf("%v, %v", claims, err)
			}
			return
		}
		decoder := json.NewDecoder(strings.NewReader(string(data)))
		decoder.UseNumber()
		var plain map[string]any
		if err := decoder.Decode(&plain); err != nil {
			t.Fatalf("encoding/json refuses %q: %v", data, err)
		}
		if !reflect.DeepEqual(plain, map[string]any(claims)) {
			t.Fatalf("encoding/json reads %v from %q, we read %v", plain, data, claims)
		}
		var field struct {
			Sub any `json:"sub"`
		}
		if json.Unmarshal(data, &field) == nil && claims["sub"] != nil {
			if want, err := claims.String("sub"); err == nil && field.Sub != want {
				t.Fatalf("a struct reads sub %v from %q, we read %q", field.Sub, data, want)
			}
		}
		for path := range claims {
			if _, ok := claims.Lookup(path); !ok {
				t.Fatalf("%q is not found in %q", path, data)
			}
		}
	})
}
