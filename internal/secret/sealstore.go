package secret

// Seal seals a value that is kept elsewhere, under the master key and a name:
// it opens under that name only. The key is made when there is none yet.
func (s *Store) Seal(name, value string) (sealed []byte, err error) {
	err = s.change(func(c *contents) error {
		box, err := s.box(len(c.Secrets) == 0)
		if err == nil {
			sealed = box.seal(name, value)
		}
		return err
	})
	return sealed, err
}

// Unseal opens what Seal made.
func (s *Store) Unseal(name string, sealed []byte) (string, error) {
	box, err := s.box(false)
	if err != nil {
		return "", err
	}
	return box.open(name, sealed)
}
