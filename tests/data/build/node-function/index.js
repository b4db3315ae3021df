exports.handle = async (context, body) => ({ hello: body });
