package live

// objects are those of one watch. A watch may serve a thousand ApplySets, each
// of which asks for its own members in every run, so these are told apart.
type objects struct {
	all map[Key]Object
	of  map[string]map[Key]bool // by ApplySet
}

func newObjects() objects {
	return objects{all: map[Key]Object{}, of: map[string]map[Key]bool{}}
}

func (s objects) put(key Key, o Object) {
	if s.all[key].ApplySet != o.ApplySet {
		s.drop(key)
	}
	s.all[key] = o
	if s.of[o.ApplySet] == nil {
		s.of[o.ApplySet] = map[Key]bool{}
	}
	s.of[o.ApplySet][key] = true
}

func (s objects) drop(key Key) {
	set := s.all[key].ApplySet
	delete(s.all, key)
	delete(s.of[set], key)
	if len(s.of[set]) == 0 {
		delete(s.of, set)
	}
}

func (s objects) members(applySet string) map[Key]Object {
	found := make(map[Key]Object, len(s.of[applySet]))
	for key := range s.of[applySet] {
		found[key] = s.all[key]
	}
	return found
}
