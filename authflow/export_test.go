package authflow

// Ready returns nil if the provider's metadata is there, else what a sign-in would fail with at this moment. It does not
// wait, but has the metadata fetched.
func (c *Client) Ready() error {
	if err := c.discovery.state(); err != nil {
		return c.discoveryError(err)
	}
	return nil
}

// state returns nil if there is a document, else why not. To ask is to want it:
// an attempt starts if none is under way.
func (r *remote[T]) state() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.document != nil {
		return nil
	}
	r.start()
	return r.lastError()
}
