-- What a tag outside the plant model is measured in is said by whoever enters its readings: figures of the apps, say.
-- Of tags that the plant model knows the API changes nothing.
GRANT UPDATE (unit, description) ON tag TO hefa_api;
