package authflow

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// requirement is what an authorization request asks of the sign-in itself (OIDC Core
// 3.1.2.1), kept in the attempt so that the answer can be held to it. The zero
// value asks for nothing.
type requirement struct {
	acrValues string // as in the request: separated by spaces
	// maxAge is max_age in whole seconds, and one more: 0 means that it was not asked
	// for, since max_age=0 asks for a new sign-in.
	maxAge uint32
}

// requirementOf reads from the parameters of an authorization request, whoever has set
// them, what the answer has to be held to.
func requirementOf(parameters map[string]string) (requirement, error) {
	r := requirement{acrValues: parameters["acr_values"]}
	if len(r.acrValues) > math.MaxUint16 {
		return requirement{}, NewError(ReasonParameter, fmt.Errorf("acr_values has %d bytes", len(r.acrValues)))
	}
	if text := parameters["max_age"]; text != "" {
		seconds, err := strconv.ParseUint(text, 10, 31)
		if err != nil {
			return requirement{}, NewError(ReasonParameter, errors.New("max_age is no number of seconds"))
		}
		r.maxAge = uint32(seconds) + 1
	}
	return r, nil
}

// validateMaxAge refuses a configured max_age that no login could be held to.
func (cfg Config) validateMaxAge() error {
	if _, err := requirementOf(cfg.Parameters); err != nil {
		return fmt.Errorf("param: %w", err)
	}
	return nil
}

// check holds an ID token to what was asked for.
func (r requirement) check(claims Claims, now time.Time, leeway time.Duration) error {
	if r.acrValues != "" {
		// OIDC Core 3.1.3.7 (12): a provider may answer with a weaker sign-in than
		// was asked for, since acr_values is voluntary to it. It is not to us.
		if acr, err := claims.String("acr"); err != nil || !slices.Contains(strings.Fields(r.acrValues), acr) {
			return NewError(ReasonACR, fmt.Errorf("acr is %.64q, asked for was %.256q", acr, r.acrValues))
		}
	}
	if r.maxAge == 0 {
		return nil
	}
	// OIDC Core 3.1.3.7 (13), 3.1.2.1: auth_time MUST be there, else nobody knows
	// how long ago the person has proved anything.
	authTime, err := claims.Time("auth_time")
	if err != nil {
		return NewError(ReasonAuthTime, err)
	}
	maxAge := time.Duration(r.maxAge-1) * time.Second
	switch age := now.Sub(authTime); {
	case age > maxAge+leeway:
		return NewError(ReasonAuthTime, fmt.Errorf("signed in %s ago, asked for were at most %s", age, maxAge))
	case age < -leeway:
		return NewError(ReasonAuthTime, fmt.Errorf("auth_time is %s ahead", -age))
	}
	return nil
}

// append adds the encoding of the requirement to data.
func (r requirement) append(data []byte) []byte {
	data = binary.BigEndian.AppendUint32(data, r.maxAge)
	data = binary.BigEndian.AppendUint16(data, uint16(len(r.acrValues))) // requirementOf has bounded it
	return append(data, r.acrValues...)
}

// cutRequirement decodes what append has encoded, and returns what follows it.
func cutRequirement(data []byte) (requirement, []byte, error) {
	if len(data) < 6 || len(data)-6 < int(binary.BigEndian.Uint16(data[4:])) {
		return requirement{}, nil, fmt.Errorf("%w: cut off", ErrAttemptMalformed)
	}
	maxAge, end := binary.BigEndian.Uint32(data), 6+int(binary.BigEndian.Uint16(data[4:]))
	return requirement{acrValues: string(data[6:end]), maxAge: maxAge}, data[end:], nil
}

// seconds writes a duration as max_age, rounded down to the stricter whole
// second; "" is none.
func seconds(d time.Duration) string {
	if d <= 0 {
		return ""
	}
	return strconv.FormatInt(int64(d/time.Second), 10)
}
