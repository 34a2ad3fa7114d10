package caddymodule

import (
	"fmt"
	"io"
	"os"

	"github.com/gatehouse-auth/gatehouse/authflow"
)

// maxAssertion is how large the file of an assertion may be, in bytes.
const maxAssertion = 64 << 10

// assertionFile is the path of a file in which the platform keeps an assertion of who
// this client is, and renews it.
type assertionFile string

// read returns the assertion of now. Its errors name the file.
func (path assertionFile) read() (authflow.ClientAssertion, error) {
	file, err := os.Open(string(path))
	if err != nil {
		return authflow.ClientAssertion{}, fmt.Errorf("client_assertion: %w", err)
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, maxAssertion))
	if err != nil {
		return authflow.ClientAssertion{}, fmt.Errorf("client_assertion %s: %w", path, err)
	}
	assertion, err := authflow.ParseClientAssertion(content)
	if err != nil {
		return assertion, fmt.Errorf("client_assertion %s: %w", path, err)
	}
	return assertion, nil
}

// provisionAssertion reads the client's assertion, so that what is wrong with the file
// is an error now, and has it read again at each use. That it has expired is none: the
// platform may renew it before somebody signs in.
func (c *ProviderConfig) provisionAssertion(config *authflow.Config) error {
	if c.ClientAssertion == "" {
		return nil
	}
	path, err := resolve("client_assertion", c.ClientAssertion)
	if err != nil {
		return err
	}
	if _, err := assertionFile(path).read(); err != nil {
		return err
	}
	config.ClientAssertion = assertionFile(path).read
	return nil
}
