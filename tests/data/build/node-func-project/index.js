const handle = async (context, event) => event;
module.exports = { handle };
