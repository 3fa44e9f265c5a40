package main

import (
	"bytes"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/util/jsonpath"
)

// condition holds of an Application if what stands at a JSON path, as kubectl
// writes those, equals or contains a text.
type condition struct {
	Path     string `json:"path"`
	Equals   string `json:"equals"`
	Contains string `json:"contains"`
}

func (c condition) holds(o *unstructured.Unstructured, v values) (bool, error) {
	p := jsonpath.New("condition").AllowMissingKeys(true)
	path, err := fill(c.Path, v)
	if err != nil {
		return false, err
	}
	if err := p.Parse(path); err != nil {
		return false, fmt.Errorf("parse the path %q: %w", path, err)
	}
	var got bytes.Buffer
	if err := p.Execute(&got, o.Object); err != nil {
		return false, fmt.Errorf("look at %q: %w", path, err)
	}
	if c.Equals != "" {
		want, err := fill(c.Equals, v)
		return got.String() == want, err
	}
	want, err := fill(c.Contains, v)
	return strings.Contains(got.String(), want), err
}

func allHold(conditions []condition, o *unstructured.Unstructured, v values) (bool, error) {
	for _, c := range conditions {
		if ok, err := c.holds(o, v); !ok || err != nil {
			return false, err
		}
	}
	return true, nil
}
