package image

import (
	"bytes"
	"encoding/pem"
	"fmt"

	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// certificatesFile is where Go programs, among others, look for root certificates.
const certificatesFile = "/etc/ssl/certs/ca-certificates.crt"

// certificates gives Mozilla's root certificates as the module golang.org/x/crypto/x509roots
// has them. Those of the machine that builds would make its images different
// from other machines'. Roots that Mozilla trusts only in part are left out: a
// PEM file cannot say which part.
func certificates() ([]byte, error) {
	var bundled bytes.Buffer
	for root := range bundle.Roots() {
		if root.Constraint != nil {
			continue
		}
		if err := pem.Encode(&bundled, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}); err != nil {
			return nil, fmt.Errorf("encode a root certificate: %w", err)
		}
	}
	return bundled.Bytes(), nil
}
